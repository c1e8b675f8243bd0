from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmtk.errors import RecipeError
from mmtk.recipe import CheckedRecipe, check_recipe, load_recipe
from mmtk.recipe.references import Reference
from mmtk.registry import Registry
from mmtk.types import ComponentNode
from tests.host.recipe.parts import Colour, Sizes, checked, registry

WORK = "stages:\n  make: {use: make}\n  work:\n    use: work\n"


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def check(text: str, *overrides: str) -> CheckedRecipe:
    Path("recipe.yaml").write_text(text, "utf-8")
    return check_recipe(load_recipe("recipe.yaml", overrides), registry())


def faults(text: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        check(text, *overrides)
    lines = [line for line in str(caught.value).split("\n") if not line.startswith("    ")]
    first, *more = "\n".join(lines).split("\n  ")
    if not more:
        return [first]
    assert first == f"recipe.yaml: {len(more)} problems"
    return more


def keys(text: str, *overrides: str) -> Any:
    return check(text, *overrides).stages["work"].node.keys


def test_everything_left_out_has_its_default() -> None:
    recipe = check(WORK)
    assert (recipe.name, recipe.seed, recipe.device, recipe.description) == ("recipe", 0, "auto", "")
    assert recipe.run_dir == Path("runs/recipe")
    assert list(recipe.stages) == ["make", "work"]
    stage = recipe.stages["work"]
    assert stage.name == "work"
    assert stage.inputs == frozenset()
    assert list(stage.outputs) == ["result"]
    assert stage.node.keys["loggers"] == {"lines": ComponentNode("logger", "lines", {"every": 5})}
    assert stage.node.keys["sizes"] == Sizes(width=32)
    assert stage.node.keys["colour"] is Colour.RED
    assert stage.node.place == "recipe.yaml:3:3"


def test_the_recipes_own_keys() -> None:
    recipe = check(f"name: mine\ndescription: d\nseed: 4\ndevice: cuda:1\nrun_dir: here\n{WORK}")
    assert (recipe.name, recipe.description, recipe.seed, recipe.device) == ("mine", "d", 4, "cuda:1")
    assert recipe.run_dir == Path("here")


def test_slots() -> None:
    found = keys(
        WORK
        + "    heads: {one: {use: itm}, two: {use: parts/itm, loss: {use: margin}, weight: 2}}\n"
        + "    parts: [{use: smooth}, {use: margin, margin: 1}]\n"
        + "    loss: {use: smooth, reduce: sum}\n"
    )
    smooth = ComponentNode("loss", "smooth", {"smoothing": 0.2, "reduce": "mean"})
    assert found["heads"]["one"] == ComponentNode(
        "head", "itm", {"loss": smooth, "negatives": 1, "weight": 1.0}
    )
    assert found["heads"]["two"].use == "parts/itm"
    assert found["heads"]["two"].keys["loss"] == ComponentNode("loss", "margin", {"margin": 0.2})
    assert [part.keys for part in found["parts"]] == [{"smoothing": 0.1, "reduce": "mean"}, {"margin": 1.0}]
    assert found["loss"].keys["reduce"] == "sum"


def test_keys_of_a_default_component_can_be_changed_without_naming_it() -> None:
    found = keys(WORK + "    heads: {one: {use: itm, loss: {reduce: sum}}}\n")
    assert found["heads"]["one"].keys["loss"] == ComponentNode(
        "loss", "smooth", {"smoothing": 0.2, "reduce": "sum"}
    )
    found = keys(WORK, "stages.work.loggers.lines.every=7")
    assert found["loggers"]["lines"] == ComponentNode("logger", "lines", {"every": 7})


def test_a_partly_given_config_is_filled_from_the_fields_default() -> None:
    assert keys(WORK + "    sizes: {heads: 8}\n")["sizes"] == Sizes(width=32, heads=8)


def test_inputs() -> None:
    Path("a.bin").touch()
    Path("b.bin").touch()
    Path("shards").mkdir()
    Path("shards/x-0001.tar").touch()
    recipe = check(
        WORK
        + "    blob: {from: make.blob}\n"
        + "    blobs: [a.bin, {from: make.blob}, 'shards/x-{0000..0004}.tar', 'shards/*.tar']\n"
        + "    named: {one: {from: make.words}, two: a.bin}\n"
    )
    stage = recipe.stages["work"]
    made = Reference("make", "blob")
    assert stage.inputs == {("make", "blob"), ("make", "words")}
    assert stage.node.keys["blob"] == made
    assert stage.node.keys["blobs"] == (
        Path("a.bin"),
        made,
        Path("shards/x-{0000..0004}.tar"),
        Path("shards/*.tar"),
    )
    assert stage.node.keys["named"] == {"one": Reference("make", "words"), "two": Path("a.bin")}
    assert keys(WORK + "    folder: nowhere/yet\n")["folder"] == Path("nowhere/yet")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cuont: 3", "5:5 cuont: unknown key; did you mean 'count'? (work, from parts/mmtk-parts 1.2)"),
        ("count: x", "5:12 count: expected a whole number, not 'x' (work, from parts/mmtk-parts 1.2)"),
        ("on: no", "5:9 on: expected true or false, not 'no'; write false (work,"),
        ("text: null", "5:11 text: expected text, not null (work,"),
        ("ratio: 2", "5:12 ratio: 2 is outside of [0, 1] (work,"),
        ("colour: rde", "5:13 colour: expected one of 'red', 'blue', not 'rde'; did you mean 'red'?"),
        ("pair: [1, a]", "5:15 pair.1: expected a number, not 'a' (work,"),
        ("sizes: {widht: 3}", "5:13 sizes.widht: unknown key; did you mean 'width'? (work,"),
        ("sizes: {heads: 5}", "5:13 sizes.heads: 5 don't divide 32 (work,"),
        ("count: 200", "5:5 count: 200 is more than anyone can count (work,"),
        ("loss: smooth", "5:11 loss: expected a loss ({use: NAME}), not 'smooth'; write {use: smooth}"),
        ("loss: {reduce: sum}", "5:5 loss: needs 'use: NAME' of a loss; there are: margin, raising, smooth"),
        ("loss: {use: smoth}", "5:17 loss.use: unknown loss 'smoth'; did you mean 'smooth'?"),
        ("loss: {use: itm}", "5:17 loss.use: unknown loss 'itm'; there is a head of this name, but a loss"),
        ("loss: {use: 3}", "5:17 loss.use: expected a component's name, not 3"),
        ("loss: {use: other/smooth}", "5:17 loss.use: unknown loss 'other/smooth'; did you mean 'smooth'?"),
        ("loss: {use: raising, value: -1}", "5:5 loss: the config refuses these keys: ValueError: below"),
        ("heads: {a: null}", "5:16 heads.a: expected a head ({use: NAME}), not null"),
        ("heads: {a: {use: itm, neg: 1}}", "5:27 heads.a.neg: unknown key; did you mean 'negatives'? (itm,"),
        ("heads: {a: {use: itm, weight: -1}}", "5:35 heads.a.weight: -1 is outside of [0, inf) (itm,"),
        ("heads: {BIG: {use: itm}}", "5:13 heads.BIG: heads are written small (work,"),
        ("heads: {a: {use: gone}}", "5:22 heads.a: the config of head 'gone' (from parts/mmtk-parts 1.2)"),
        ("heads: {a: {use: signature, scale: -1}}", "5:40 heads.a.scale: -1 is outside of [0, inf)"),
        ("heads: {a: {use: no_model}}", "5:13 heads.a.scale: this key is required and missing (no_model"),
        ("heads: {a: {use: positional}}", "5:22 heads.a: head 'positional' (from parts/mmtk-parts 1.2): "),
        ("blob: a.bin", "5:11 blob: there is no file or folder a.bin, seen from "),
        ("blob: make.blob", "5:11 blob: there is no file or folder make.blob, seen from "),
        ("blob: 'x-*.tar'", "5:11 blob: no file fits the pattern x-*.tar, seen from "),
        (
            "blob: {from: mkae.blob}",
            "5:18 blob: unknown stage 'mkae' in 'from: mkae.blob'; did you mean 'make'?",
        ),
        (
            "blob: {from: make.blub}",
            "5:18 blob: stage 'make' has no output 'blub'; did you mean 'make.blob'?",
        ),
        (
            "blob: {from: make.zzzzz}",
            "5:18 blob: stage 'make' has no output 'zzzzz'; it has: make.blob, make.words",
        ),
        (
            "blob: {from: make}",
            "5:18 blob: 'from: make' names no output; write one of: make.blob, make.words",
        ),
        (
            "blob: {from: make.words}",
            "5:18 blob: needs the artifact type 'blob', and 'make.words' is of type 'words'",
        ),
        ("blob: {from: 3}", "5:18 blob: expected STAGE.OUTPUT, not 3"),
        (
            "blob: {from: make.blob, x: 1}",
            "5:11 blob: expected a path or {from: STAGE.OUTPUT}, not a mapping",
        ),
        ("blob: 3", "5:11 blob: expected a path or {from: STAGE.OUTPUT}, not 3"),
        ("folder: {from: make.blob}", "5:14 folder: this key takes a path and no stage's output (work,"),
        ("text: {from: make.blob}", "5:11 text: expected text, not a mapping; it takes no stage's output"),
        ("count: ${nowhere}", "5:12 count: ${nowhere}: there is no 'nowhere' in the recipe; there are: stag"),
        (
            "count: ${stages.mkae}",
            "5:12 count: ${stages.mkae}: there is no 'mkae' in stages; did you mean ${sta",
        ),
        ("count:", "5:11 count: expected a whole number, not null, as an empty value is (work,"),
        ("count: '3'", "5:12 count: expected a whole number, not '3'; write it without the quotes (work,"),
        ("words: a", "5:12 words: expected a list, each item text, not 'a'; write [ ] around it (work,"),
        (
            "parts: {use: smooth}",
            "5:5 parts: expected a list of loss components ([{use: …}]), not a mapping; wr",
        ),
        (
            "heads: [{use: itm}]",
            "5:12 heads: expected a mapping of head components (NAME: {use: …}), not a list",
        ),
        ("width: 3", "5:5 width: unknown key; did you mean 'sizes.width'? (work,"),
        ("sizes: {count: 3}", "5:13 sizes.count: unknown key; 'count' is a key of stages.work (work,"),
        ("device: cpu", "5:5 device: unknown key; 'device' is a key of the recipe (work,"),
        (
            "heads: {a: {use: itm, loss: {use: margin}, margin: 1}}",
            "5:48 heads.a.margin: unknown key; did you",
        ),
    ],
)
def test_one_fault(line: str, message: str) -> None:
    (fault,) = faults(f"{WORK}    {line}\n")
    place, message = message.split(" ", 1)
    assert fault.startswith(f"recipe.yaml:{place}  stages.work.{message}")


def test_a_required_key_that_is_missing() -> None:
    suffix = "this key is required and missing (strict, from parts/mmtk-parts 1.2)"
    assert faults("stages:\n  a:\n    use: strict\n") == [
        f"recipe.yaml:2:3  stages.a.needed: {suffix}",
        f"recipe.yaml:2:3  stages.a.also: {suffix}",
    ]


def test_a_path_that_was_meant_as_an_output_and_a_misspelt_file() -> None:
    (fault,) = faults(WORK + "    blob: {from: make.words}\n")
    assert "'make.words' is of type 'words'; did you mean make.blob? (work" in fault
    (fault,) = faults(WORK + "    blob: make.blob\n")
    assert "; did you mean {from: make.blob}? (work" in fault
    Path("vocabulary.bin").touch()
    (fault,) = faults(WORK + "    blob: vocabluary.bin\n")
    assert (
        f"no file or folder vocabluary.bin, seen from {Path.cwd()}; did you mean vocabulary.bin? (work"
        in fault
    )
    (fault,) = faults(WORK + f"    blob: {Path.cwd()}/zzz\n")
    assert "seen from" not in fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\n", "recipe.yaml:1:1  stages: a recipe needs 'stages', and this one has none"),
        ("stages: {}\n", "recipe.yaml:1:9  stages: expected a mapping of stages, each {use: NAME, …}"),
        ("stages: [a]\n", "recipe.yaml:1:9  stages: expected a mapping of stages"),
        ("stages: {a: null}\n", "recipe.yaml:1:13  stages.a: expected a stage ({use: NAME}), not null"),
        (
            "stages: {a: {}}\n",
            "recipe.yaml:1:10  stages.a: needs 'use: NAME' of a stage; there are: disagreeing, make",
        ),
        (
            "stages: {a: {use: mkae}}\n",
            "recipe.yaml:1:19  stages.a.use: unknown stage 'mkae'; did you mean 'make'?",
        ),
        (
            "stages: {a/b: {use: make}}\n",
            "recipe.yaml:1:10  stages.a/b: a stage's name is made of letters, digits,",
        ),
        ("stages: {..: {use: make}}\n", "recipe.yaml:1:10  stages...: a stage's name is made of"),
        (f"sed: 3\n{WORK}", "recipe.yaml:1:1  sed: unknown key of a recipe; did you mean 'seed'?"),
        (f"stage: 3\n{WORK}", "recipe.yaml:1:1  stage: unknown key of a recipe; did you mean 'stages'?"),
        (
            f"count: 3\n{WORK}",
            "recipe.yaml:1:1  count: unknown key of a recipe; did you mean 'stages.work.count'?",
        ),
        (
            f"zzz: 3\n{WORK}",
            "recipe.yaml:1:1  zzz: unknown key of a recipe; there are: name, description, seed,",
        ),
        (f"seed: -1\n{WORK}", "recipe.yaml:1:7  seed: -1 is outside of [0, 9.22337e+18]"),
        (f"seed: 1.5\n{WORK}", "recipe.yaml:1:7  seed: expected a whole number, not 1.5"),
        (f"device: gpu\n{WORK}", "recipe.yaml:1:1  device: expected auto, cpu, cuda or cuda:N, not 'gpu'"),
        (f"name: a/b\n{WORK}", "recipe.yaml:1:1  name: 'a/b' can't name a folder"),
        (f"name: ..\n{WORK}", "recipe.yaml:1:1  name: '..' can't name a folder"),
        (f"definitions: 3\n{WORK}", "recipe.yaml:1:14  definitions: expected a mapping"),
    ],
)
def test_a_fault_of_the_recipe_itself(text: str, message: str) -> None:
    (fault,) = faults(text)
    assert fault.startswith(message)


def test_stages_in_a_circle() -> None:
    text = "stages:\n  a: {use: make, after: {from: b.blob}}\n  b: {use: make, after: {from: a.blob}}\n"
    assert faults(text) == [
        "recipe.yaml:1:1  stages: stages read each other's outputs in a circle: a -> b -> a"
    ]
    assert "circle: a -> a" in faults("stages: {a: {use: make, after: {from: a.blob}}}\n")[0]


def test_a_misspelt_override() -> None:
    assert faults(WORK, "stages.work.cuont=3") == [
        "command line: stages.work.cuont=3  stages.work.cuont: unknown key; did you mean 'count'?"
        " (work, from parts/mmtk-parts 1.2)"
    ]
    assert faults(WORK, "sed=3") == [
        "command line: sed=3  sed: unknown key of a recipe; did you mean 'seed'?"
    ]
    (fault,) = faults(WORK, "stages.work.count=x")
    assert fault.startswith(
        "command line: stages.work.count=x  stages.work.count: expected a whole number, not 'x'"
    )


def test_everything_at_once_in_the_order_of_the_file() -> None:
    found = faults(
        "sed: 3\nname: a\nname: b\n"
        + WORK
        + "    cuont: 3\n    ratio: 7\n    heads:\n      itm: {use: itm, neg_smapler: 1, weight: x}\n"
        + "    loss: {use: nope}\n    blob: {from: make.words}\n    text: ${nope}\n",
        "stages.work.on=1",
    )
    assert [fault.split(": ")[0] for fault in found] == [
        "command line",
        "recipe.yaml:1:1  sed",
        "recipe.yaml:3:1  name",
        "recipe.yaml:8:5  stages.work.cuont",
        "recipe.yaml:9:12  stages.work.ratio",
        "recipe.yaml:11:23  stages.work.heads.itm.neg_smapler",
        "recipe.yaml:11:47  stages.work.heads.itm.weight",
        "recipe.yaml:12:17  stages.work.loss.use",
        "recipe.yaml:13:18  stages.work.blob",
        "recipe.yaml:14:11  stages.work.text",
    ]


def test_a_fault_in_a_definition_is_told_once_and_where_it_stands() -> None:
    text = "definitions:\n  loss: {use: smooth, smoothing: 3}\nstages:\n"
    text += "".join(f"  {name}: {{use: work, loss: '${{definitions.loss}}'}}\n" for name in "abc")
    (fault,) = faults(text)
    assert fault.startswith("recipe.yaml:2:34  stages.a.loss.smoothing: 3 is outside of [0, 1) (smooth, from")


def test_a_fault_in_an_extended_recipe() -> None:
    Path("base.yaml").write_text(WORK + "    ratio: 3\n")
    (fault,) = faults("extends: base.yaml\nstages: {work: {count: 1}}\n")
    assert fault.startswith("base.yaml:5:12  stages.work.ratio: 3 is outside of [0, 1]")


def test_an_unknown_stage_says_nothing_of_what_reads_it() -> None:
    assert len(faults("stages:\n  make: {use: mkae}\n  work: {use: work, blob: {from: make.blob}}\n")) == 1


def test_a_broken_plugin_is_named() -> None:
    Path("recipe.yaml").write_text("stages: {a: {use: shiny}, b: {use: gleam/shiny}}\n")
    broken = Registry([], {"gleam": "can't be imported: ImportError: no glass (gleam-kit 3.1)"})
    with pytest.raises(RecipeError) as caught:
        check_recipe(load_recipe("recipe.yaml"), broken)
    lines = [line for line in str(caught.value).split("\n") if not line.startswith("    ")]
    assert "unknown stage 'shiny'; no plugin offers a stage (plugin 'gleam' is broken: can't" in lines[1]
    assert (
        "stage 'gleam/shiny' can't be used: plugin 'gleam' is broken: can't be imported: ImportError"
        in lines[2]
    )


def test_components_without_a_config() -> None:
    found = keys(WORK + "    heads: {a: {use: signature, scale: 2}, b: {use: no_model, scale: 3}}\n")["heads"]
    smooth = ComponentNode("loss", "smooth", {"smoothing": 0.1, "reduce": "mean"})
    assert found["a"].keys == {"scale": 2.0, "loss": smooth, "loose": None}
    assert found["b"].keys == {"scale": 3}


def test_the_fixture_of_other_tests(tmp_path: Path) -> None:
    assert checked(tmp_path, WORK, "seed=3").seed == 3


def test_nothing_heavy_is_imported() -> None:
    code = """
import sys
from pathlib import Path
from mmtk.plugins import load_plugins
from mmtk.recipe import check_recipe, load_recipe
from mmtk.recipe import build, fingerprint
Path("recipe.yaml").write_text('''
stages:
  first:
    use: train
    model:
      use: med
      image_encoder: {use: timm_vit, width: 64, heads: 2}
      tokenizer: {use: wordpiece, vocab: v.txt}
    heads: {itc: {use: itc}, lm: {use: lm}}
    data: {sources: {web: {reader: {use: webdataset, path: .}}}}
    epochs: 1
  report: {use: report, sections: [{use: loss_curves, runs: {first: {from: first.metrics}}}]}
''')
Path("v.txt").touch()
checked = check_recipe(load_recipe("recipe.yaml"), load_plugins().registry)
assert checked.stages["report"].inputs == {("first", "metrics")}, checked
heavy = {"torch", "timm", "transformers", "torchvision", "PIL", "numpy", "pyarrow", "matplotlib", "fairscale"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_misspelt_required_key_is_said_once() -> None:
    text = "stages:\n  make: {use: make}\n  a: {use: strict, neded: 1, also: {from: make.blob}}\n"
    assert faults(text) == [
        "recipe.yaml:3:20  stages.a.neded: unknown key; did you mean 'needed'?"
        " (strict, from parts/mmtk-parts 1.2)"
    ]
    both = faults(text.replace("neded: 1", "neded: 1, needed: x"))
    assert len(both) == 2


def test_a_misspelt_stage_of_a_recipe_on_top() -> None:
    Path("base.yaml").write_text(WORK)
    assert faults("extends: base.yaml\nstages:\n  wrok: {count: 1}\n") == [
        "recipe.yaml:3:3  stages.wrok: there is no stage 'wrok' to change; did you mean the stage 'work'?"
        " A new one needs 'use: NAME'"
    ]


@pytest.mark.parametrize(
    ("reference", "hint"),
    [
        ("${definitions.lss}", "there is no 'lss' in definitions; did you mean ${definitions.loss}?"),
        ("${loss}", "there is no 'loss' in the recipe; did you mean ${definitions.loss}?"),
        ("${definitons.loss}", "there is no 'definitons' in the recipe; did you mean ${definitions.loss}?"),
        (
            "${definitions.loss.margn}",
            "no 'margn' in definitions.loss; did you mean ${definitions.loss.margin}?",
        ),
        ("x-${definitions.zzz}", "there is no 'zzz' in definitions; there are: loss"),
    ],
)
def test_a_misspelt_reference(reference: str, hint: str) -> None:
    text = f"definitions: {{loss: {{use: margin, margin: 1}}}}\n{WORK}    text: '{reference}'\n"
    (fault,) = faults(text)
    assert fault.startswith(f"recipe.yaml:6:11  stages.work.text: {reference}: ")
    assert fault.endswith(hint)


def test_a_name_that_is_too_long_for_a_file() -> None:
    (fault,) = faults(WORK + f"    blob: {'a' * 5000}\n")
    assert "there is no file or folder aaa" in fault
    assert len(fault) < 500
    with pytest.raises(RecipeError, match="extends: there is no file or folder aaa"):
        check(f"extends: {'a' * 5000}\n")
