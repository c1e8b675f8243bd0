from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmtk.errors import RecipeError
from mmtk.recipe import load_recipe
from mmtk.recipe.marks import BROKEN, Marked, at


def load(folder: Path, text: str, *overrides: str) -> tuple[Any, list[str], Marked]:
    path = folder / "x.yaml"
    path.write_text(text, "utf-8")
    document = load_recipe(path, overrides)
    return document.data, [str(one).replace(f"{folder}/", "") for one in document.problems], document.root


MODEL = """\
definitions:
  width: 64
  encoder: {use: vit, width: "${definitions.width}"}
  model: {use: med, encoder: "${definitions.encoder}", dim: 8}
stages:
  one: {model: "${definitions.model}"}
  two: {model: "${definitions.model}", sizes: ["${definitions.width}", "w${definitions.width}"]}
  three: {model: "${stages.two.model}"}
"""


def test_definitions(tmp_path: Path) -> None:
    data, problems, root = load(tmp_path, MODEL)
    model = {"use": "med", "encoder": {"use": "vit", "width": 64}, "dim": 8}
    assert problems == []
    assert data["stages"] == {
        "one": {"model": model},
        "two": {"model": model, "sizes": [64, "w64"]},
        "three": {"model": model},
    }
    dim = at(root, ["stages", "three", "model", "dim"])
    assert dim is not None
    assert str(dim.place).endswith("x.yaml:4:61")
    itself = at(root, ["stages", "one", "model"])
    assert itself is not None
    assert str(itself.key_place).endswith("x.yaml:6:9")


def test_changing_a_definition_where_it_is_used(tmp_path: Path) -> None:
    data, problems, root = load(
        tmp_path, MODEL, "stages.one.model.dim=9", "stages.one.model.encoder.depth=2", "definitions.width=32"
    )
    assert problems == []
    encoder = {"use": "vit", "width": 32}
    assert data["stages"]["one"]["model"] == {"use": "med", "encoder": {**encoder, "depth": 2}, "dim": 9}
    assert data["stages"]["two"]["model"] == {"use": "med", "encoder": encoder, "dim": 8}
    changed = at(root, ["stages", "one", "model", "dim"])
    assert changed is not None
    assert str(changed.place) == "command line: stages.one.model.dim=9"


def test_changing_through_two_references(tmp_path: Path) -> None:
    data, problems, _ = load(tmp_path, MODEL, "stages.two.model.dim=9", "stages.three.model.encoder.width=1")
    assert problems == []
    assert data["stages"]["three"]["model"] == {"use": "med", "encoder": {"use": "vit", "width": 1}, "dim": 9}
    assert data["stages"]["one"]["model"]["dim"] == 8


def test_extending_a_recipe_changes_a_definition_where_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(MODEL)
    data, problems, _ = load(tmp_path, "extends: base.yaml\nstages: {one: {model: {dim: 1}}}\n")
    assert problems == []
    assert data["stages"]["one"]["model"] == {"use": "med", "encoder": {"use": "vit", "width": 64}, "dim": 1}


def test_relative_ones_and_escapes(tmp_path: Path) -> None:
    data, problems, _ = load(tmp_path, "a: {b: 1, c: '${.b}', d: {e: '${..b}'}, f: '\\${b}'}\n")
    assert problems == []
    assert data == {"a": {"b": 1, "c": 1, "d": {"e": 1}, "f": "${b}"}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "${definitions.widht}",
            "${definitions.widht}: there is no 'definitions' in the recipe; there are: a, fine, name, "
            "description, seed, device, run_dir, environment",
        ),
        ("${a}", "${a}: values refer to each other in a circle: a -> a"),
        ("${b", "${b: a '}' is missing behind '${'"),
        ("'x} ${b.${c}'", "x} ${b.${c}: a '}' is missing behind '${'"),
        (
            "${b c}",
            "${b c}: write the path of a value, e.g. ${definitions.NAME}, or \\${ for a plain ${",
        ),
        ("${env.SZ}", "${env.SZ}: there is no 'env' in the recipe; did you mean ${env:SZ}?"),
        ("${fine.x}", "${fine.x}: there is no 'x' in fine; there are: none"),
        ("${.fin}", "${.fin}: there is no 'fin' in the recipe; did you mean ${fine}?"),
        ("${nonsense:1}", "${nonsense:1}: a recipe calls no functions, and 'nonsense' is one"),
        ("'???'", "has no value yet; set it, e.g. with a=VALUE"),
    ],
)
def test_what_cant_be_resolved(tmp_path: Path, value: str, message: str) -> None:
    data, problems, _ = load(tmp_path, f"a: {value}\nfine: 1\n")
    column = 1 if "???" in value else 4
    assert problems == [f"x.yaml:1:{column}  a: {message}"]
    assert data == {"a": None, "fine": 1}


def test_every_fault_is_found(tmp_path: Path) -> None:
    _, problems, _ = load(tmp_path, "a: ${x}\nb: ['${y}', {c: '${z}'}]\n")
    assert [problem.split("  ")[1].split(":")[0] for problem in problems] == ["a", "b.0", "b.1.c"]


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("a: {b: '${a}'}", (), "${a}: values refer to each other in a circle: a.b -> a -> a.b"),
        (
            "a: {b: '${c}'}\nc: {d: '${a}'}",
            (),
            "${c}: values refer to each other in a circle: a.b -> c -> c.d -> a -> a.b",
        ),
        ("w: a\na: {b: '${${w}}'}", (), "${${w}}: there is nothing of this name in the recipe"),
        ("a: {b: '${a}'}", ("a.b.c=1", "a.b.b.c=2"), "${a} contains itself"),
        ("t: '${a}'\na: '${t}'", ("a.x=1",), "contains itself"),
        ("t: {a: '${.}'}", ("t.a.x=1",), "contains itself"),
        ("a: '${a.b}'", ("a.x=1",), "contains itself"),
    ],
)
def test_a_definition_that_contains_itself(
    tmp_path: Path, text: str, overrides: tuple[str, ...], message: str
) -> None:
    _, problems, _ = load(tmp_path, f"{text}\n", *overrides)
    assert any(problem.endswith(message) for problem in problems)


@pytest.mark.parametrize("target", ["1", "[1]", "'${nowhere}'", "'a ${b}'"])
def test_changing_keys_of_what_has_none(tmp_path: Path, target: str) -> None:
    _, problems, _ = load(tmp_path, f"b: 1\nt: {target}\na: ${{t}}\n", "a.x=1")
    assert any("} names no mapping whose keys could be changed here" in problem for problem in problems)


@pytest.mark.parametrize(
    "reference",
    [
        "${ d.a }",
        "${d[a]}",
        "${..d.a}",
        "${e.a}",
        "${d.list[-1]}",
        "${d.changed}",
        "${d.holder.a}",
        "${e.up}",
    ],
)
def test_changing_what_a_reference_of_any_form_names(tmp_path: Path, reference: str) -> None:
    base = "d:\n  a: {x: 1, y: 2}\n  list: [0, '${d.a}']\n  changed: ${d.a}\n  up: ${.a}\n"
    base += f"  both: {{a: '${{d.a}}'}}\n  holder: ${{d.both}}\ns: {{v: '{reference}'}}\n"
    (tmp_path / "base.yaml").write_text(f"{base}e: ${{d}}\n")
    child = "extends: base.yaml\nd: {changed: {y: 2}, holder: {a: {y: 2}}}\n"
    data, problems, _ = load(tmp_path, child, "s.v.x=9")
    assert (problems, data["s"]["v"]) == ([], {"x": 9, "y": 2})
    assert data["d"]["a"] == {"x": 1, "y": 2}


def test_a_changed_copy_reads_what_its_definition_reads(tmp_path: Path) -> None:
    """What leads out of the definition is read from there, what stays within it from the copy."""
    text = "d:\n  n: 5\n  in: {z: '${...n}'}\n  a: {x: 1, up: '${..n}', own: ['${..x}', 'w${ ..x }'],"
    text += " same: '${.x}', lit: '\\${..n}', inner: '${..in}'}\ns: {n: 6, v: '${d.a}'}\nn: 7\n"
    data, problems, _ = load(tmp_path, text, "s.v.x=9", "s.v.inner.y=3")
    assert problems == []
    assert data["s"]["v"] == {
        "x": 9,
        "up": 5,
        "own": [9, "w9"],
        "same": 9,
        "lit": "${..n}",
        "inner": {"z": 7, "y": 3},
    }


@pytest.mark.parametrize("last", ["'${a}'", "'x ${ a }'", "'${c.${name}}'", "[1, '${b}']"])
def test_a_circle_is_said_once(tmp_path: Path, last: str) -> None:
    _, problems, _ = load(
        tmp_path, f"name: d\na: '${{b}}'\nb: {{c: '${{c.d}}'}}\nc: {{d: {last} }}\ne: ${{a}}\n"
    )
    if "name" in last:  # a path that is put together is followed by OmegaConf alone
        assert all("there is nothing of this name" in one for one in problems)
        return
    (problem,) = problems
    assert "values refer to each other in a circle: " in problem


def test_what_only_looks_like_a_circle(tmp_path: Path) -> None:
    text = "a: {b: '${.c}', c: '${e.x}', d: '\\${a}'}\nd: ${e}\ne: {x: 1, y: '${d.x}', z: '${a.b}'}\n"
    data, problems, _ = load(tmp_path, text)
    assert problems == []
    assert data["d"] == {"x": 1, "y": 1, "z": 1}
    assert data["a"] == {"b": 1, "c": 1, "d": "${a}"}


@pytest.mark.parametrize(
    "wrong", ["${nowhere}", "${open", "${env:NOT_LISTED}", "!odd 3", "${oc.env:HOME}", "'???'", "${wrong}"]
)
def test_what_refers_to_a_wrong_value_is_no_second_fault(tmp_path: Path, wrong: str) -> None:
    text = f"wrong: {wrong}\none: ${{wrong}}\ntwo: a ${{one}}\nthree: ${{wrong.x}}\nfour: ['${{two}}']\n"
    if "nowhere" not in wrong:  # what is put together is followed by OmegaConf alone, which says no more
        text += "name: wrong\nfive: ${${name}}\n"
    data, (problem,), root = load(tmp_path, text)
    assert "  wrong: " in problem
    assert [data.get(key) for key in ("wrong", "one", "two", "three", "five")] == [None] * 5
    assert root.value["one"].value is BROKEN


def test_changing_a_wrong_definition_is_no_second_fault(tmp_path: Path) -> None:
    _, problems, _ = load(tmp_path, "t: !odd {x: 1}\na: ${t}\n", "a.x=1")
    assert len(problems) == 1


def test_a_value_keeps_the_place_where_it_was_written(tmp_path: Path) -> None:
    text = "t: {n: two}\na: ${t.n}\nb: ${a}\nc: x${b}\n"
    _, _, root = load(tmp_path, text, "t.n=three")
    written = root.value["b"].place
    assert str(written) == "command line: t.n=three"
    assert written.way == f"used at {tmp_path}/x.yaml:3:4"
    _, _, root = load(tmp_path, text)
    assert (root.value["a"].place.line, root.value["a"].place.way) == (1, "used in line 2")
    assert (root.value["c"].place.line, root.value["c"].place.way) == (4, "")


def test_a_relative_reference_counts_from_where_it_was_written(tmp_path: Path) -> None:
    """Also in a definition that is used beside another value of the same name."""
    text = "definitions:\n  n: 5\n  a: {width: '${..n}'}\nstages:\n  n: 6\n  v: ${definitions.a}\n"
    data, problems, root = load(tmp_path, text)
    assert (problems, data["stages"]["v"]) == ([], {"width": 5})
    width = at(root, ["stages", "v", "width"])
    assert width is not None
    assert str(width.place).endswith("x.yaml:2:6")
    _, problems, _ = load(tmp_path, text.replace("  n: 5\n", "  m: 5\n"))
    fault = "${..n}: there is no 'n' in definitions; there are: m, a"
    assert problems == [f"x.yaml:3:14  {place}.width: {fault}" for place in ("definitions.a", "stages.v")]


def test_the_recipes_own_keys_have_values_where_it_leaves_them_out(tmp_path: Path) -> None:
    data, problems, _ = load(tmp_path, "a: ${name}|${description}|${seed}|${device}|${run_dir}\n")
    assert problems == []
    assert data == {"a": "x||0|auto|runs/x"}
    data, _, _ = load(tmp_path, "a: ${name}|${seed}|${run_dir}\n", "name=other", "seed=3")
    assert data["a"] == "other|3|runs/other"


def blow_up(levels: int, first: str, form: str) -> str:
    """References to references: each level stands for ten of the one before."""
    lines = [f"a0: {first}"]
    for level in range(1, levels + 1):
        ten = [f"${{a{level - 1}}}"] * 10
        quoted = ", ".join(f"'{one}'" for one in ten)
        lines.append(f"a{level}: " + form.replace("LIST", quoted).replace("TEXT", "".join(ten)))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("first", "form"),
    [("[x]", "[LIST]"), ("{x: y}", "{k: [LIST]}"), ("word", "'TEXT'"), ("[x]", "'TEXT'")],
)
def test_references_that_blow_up_are_refused_with_their_line(tmp_path: Path, first: str, form: str) -> None:
    with pytest.raises(RecipeError, match=r"x\.yaml:[56]:\d+: more than 100,000 values, its ref"):
        load(tmp_path, blow_up(40, first, form))


def test_relative_references_are_counted_too(tmp_path: Path) -> None:
    levels = ["  a0: word"] + [f"  a{n}: {{k: '{f'${{..a{n - 1}}}' * 10}'}}" for n in range(1, 40)]
    with pytest.raises(RecipeError, match="more than 100,000 values"):
        load(tmp_path, "\n".join(["top:", *levels]) + "\n")


@pytest.mark.parametrize("way", ["${rN.x}", "${lN[-1].x}", "${...rN.x}"])
def test_what_is_reached_through_another_reference_is_counted_too(tmp_path: Path, way: str) -> None:
    lines = ["a0: {x: [1, 2]}", "r0: ${a0}", "l0: ['${a0}']"]
    for level in range(1, 9):
        ten = ", ".join([f"'{way.replace('N', str(level - 1))}'"] * 10)
        lines += [f"a{level}: {{x: [{ten}]}}", f"r{level}: ${{a{level}}}", f"l{level}: [7, '${{a{level}}}']"]
    with pytest.raises(RecipeError, match="more than 100,000 values"):
        load(tmp_path, "\n".join(lines) + "\n")


def test_what_paths_stand_for_that_are_put_together_is_counted_too(tmp_path: Path) -> None:
    lines = ["w: d", "d:", f"  a0: {{x: {[1] * 100}}}"]
    for level in range(1, 5):
        hundred = ", ".join([f"'${{${{w}}.a{level - 1}.x}}'"] * 100)
        lines.append(f"  a{level}: {{x: [{hundred}]}}")
    with pytest.raises(RecipeError, match="more than 100,000 values"):
        load(tmp_path, "\n".join(lines) + "\n")


def test_an_index_from_the_end_of_a_list(tmp_path: Path) -> None:
    data, problems, _ = load(tmp_path, "l: [1, {n: 2}]\na: ${l[-1].n}\nb: ${l[-2]}\n")
    assert (problems, data["a"], data["b"]) == ([], 2, 1)
    _, (problem,), _ = load(tmp_path, "l: [1, '${l[-1]}']\n")
    assert "in a circle: l.1 -> l.1" in problem


def test_changed_references_that_blow_up_are_refused(tmp_path: Path) -> None:
    lines = ["a0: {x: 1}"]
    for level in range(1, 25):
        below = ", ".join(f"k{n}: '${{a{level - 1}}}'" for n in range(4))
        lines.append(f"a{level}: {{{below}, x: 1}}")
    (tmp_path / "base.yaml").write_text("\n".join(lines) + "\n")
    changes = [f"a{level}: {{{', '.join(f'k{n}: {{x: 2}}' for n in range(4))}}}" for level in range(1, 25)]
    with pytest.raises(RecipeError, match="more than 10,000 changed references"):
        load(tmp_path, "extends: base.yaml\n" + "\n".join(changes) + "\n")


def test_a_definition_may_be_used_often(tmp_path: Path) -> None:
    data, problems, _ = load(tmp_path, blow_up(3, "word", "'TEXT'"))
    assert problems == []
    assert data["a3"] == "word" * 1000


@pytest.mark.parametrize(
    "call",
    [
        "${oc.env:HOME}",
        "${oc.env:HOME,x}",
        "x-${oc.env:HOME}",
        "${ oc.env : HOME }",
        "${oc.${name}:HOME}",
        "${${full}:HOME}",
        "${oc.decode:${code}}",
        "${oc.create:${code}}",
        "${oc.select:code}",
        "${oc.dict.values:section}",
        "${oc.deprecated:code}",
        "${env:HOME,${oc.env:HOME}}",
    ],
)
def test_a_recipe_calls_no_functions(tmp_path: Path, call: str) -> None:
    """Not even through a name that is put together, or from within a text that another one reads."""
    text = "environment: []\nname: env\nfull: oc.env\ncode: '\\${oc.env:HOME}'\nsection: {a: 1}\n"
    text += f"a: '{call}'\n"
    data, problems, _ = load(tmp_path, text)
    assert data["a"] is None
    (problem,) = problems
    assert problem.startswith("x.yaml:6:4  a: ")


def test_where_the_environment_is_meant_the_message_says_how(tmp_path: Path) -> None:
    _, (problem,), _ = load(tmp_path, "a: ${oc.env:HOME}\n")
    assert "environment variables are written ${env:NAME} or ${env:NAME,DEFAULT}" in problem


def test_a_long_chain_of_references_is_refused(tmp_path: Path) -> None:
    chain = "".join(f"a{n}: '${{a{n - 1}}}'\n" for n in range(1, 3000))
    with pytest.raises(
        RecipeError, match=r"x\.yaml:1:1: (references follow each other too deeply|more than)"
    ):
        load(tmp_path, f"a0: 1\n{chain}")
    reverse = "".join(f"a{n}: '${{a{n + 1}}}'\n" for n in range(3000))
    with pytest.raises(RecipeError, match="references follow each other too deeply"):
        load(tmp_path, f"{reverse}a3000: 1\n")
