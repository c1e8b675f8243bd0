from __future__ import annotations

from pathlib import Path

import pytest

from mmtk.errors import RecipeError
from mmtk.recipe import check_recipe, load_recipe
from mmtk.recipe.build import from_options
from mmtk.recipe.excerpt import excerpt
from mmtk.recipe.marks import Place
from tests.host.recipe.parts import checked, registry

WORK = "stages:\n  make: {use: make}\n  work:\n    use: work\n"


def message(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        checked(folder, text, *overrides)
    return str(caught.value).replace(f"{folder}/", "")


def test_a_problem_shows_its_line_with_a_mark_under_the_column(tmp_path: Path) -> None:
    assert message(tmp_path, WORK + "    ratio:   7 # too much\n").splitlines()[1:] == [
        "    | ratio:   7 # too much",
        "    |          ^",
    ]


def test_each_of_several_problems_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(WORK + "    count: x\n")
    text = message(tmp_path, "extends: base.yaml\nsed: 3\n", "stages.work.ratio=7")
    assert text.splitlines() == [
        "recipe.yaml: 3 problems",
        "  base.yaml:5:12  stages.work.count: expected a whole number, not 'x'"
        " (work, from parts/mmtk-parts 1.2)",
        "    | count: x",
        "    |        ^",
        "  recipe.yaml:2:1  sed: unknown key of a recipe; did you mean 'seed'?",
        "    | sed: 3",
        "    | ^",
        "  command line: stages.work.ratio=7  stages.work.ratio: 7 is outside of [0, 1]"
        " (work, from parts/mmtk-parts 1.2)",
        "    | stages.work.ratio=7",
        "    |                   ^",
    ]


@pytest.mark.parametrize(
    ("override", "points_at"),
    [
        ("stages.work.cuont=3", "cuont"),
        ("stages.wrok.count=3", "wrok"),
        ("stages.work.szies.width=3", "szies"),
        ("stages.work.sizes.widht=3", "widht"),
        ("stages.work.sizes={width: 3, haeds: 1}", "haeds"),
        ("stages.work.words[4]=3", "stages"),
        ("stages.work.count=[1, {a: x}]", "[1"),
        ("stages.work.words=[a, 3]", "3]"),
        ("stages.work.text={a: 1, a: 2}", "a: 2"),
        ("stages.work.count=[1", "[1"),
        ("nonsense", "nonsense"),
        ("sed=3", "sed"),
    ],
)
def test_a_problem_of_an_override_points_into_the_argument(
    tmp_path: Path, override: str, points_at: str
) -> None:
    lines = message(tmp_path, WORK + "    words: [a]\n", override).splitlines()
    assert lines[-2] == f"    | {override}"
    column = len(override) if override.endswith("=[1") else override.rindex(points_at)
    assert lines[-1] == f"    | {' ' * column}^"


def test_a_broken_document_shows_where_reading_it_fails(tmp_path: Path) -> None:
    assert message(tmp_path, "name: x\nstages: {a: [1, }\n").splitlines()[1:] == [
        "    | stages: {a: [1, }",
        "    |                 ^",
    ]


def test_a_component_option_of_the_command_line_points_into_it() -> None:
    with pytest.raises(RecipeError) as caught:
        from_options("loss", "smooth", {"smoothing": "3"}, registry())
    assert str(caught.value).splitlines()[1:] == ["    | smoothing=3", "    |           ^"]


def shown(text: str, column: int) -> list[str]:
    return excerpt(Place("x", 1, column, text))


def test_a_long_line_is_cut_around_the_column() -> None:
    long = "".join(f"{number:04d} " for number in range(200))
    line, mark = shown(long, 501)
    assert line == f"| …{long[440:540].rstrip()}…"
    assert line[mark.index("^")] == long[500]
    line, mark = shown(long, 1)
    assert line == f"| {long[:100].rstrip()}…"
    assert mark == "| ^"
    line, _ = shown(long, len(long))
    assert not line.endswith("…")


@pytest.mark.parametrize(
    ("text", "at"),
    [("    a: \x1b[31mred", "r"), ("a: '\u202e' b", "b"), ("a: 猫猫 b", "b"), ("a: \tb", "b")],
)
def test_what_acts_on_a_terminal_is_spelt_out_and_the_mark_stands_right(text: str, at: str) -> None:
    from rich.cells import cell_len

    line, mark = shown(text, text.index(at) + 1)
    assert all(one.isprintable() for one in line)
    before = line[: line.index(at)]
    assert mark.index("^") == cell_len(before)


def test_a_place_without_a_text_shows_nothing() -> None:
    assert excerpt(Place("x", 1, 1)) == []
    assert excerpt(Place("x", 1, 1, "  ")) == []
    assert shown("a", 5) == ["| a", "|  ^"]


def test_ten_problems_take_thirty_lines(tmp_path: Path) -> None:
    text = WORK + "".join(f"    wrong{number}: {'x' * 500}\n" for number in range(10))
    lines = message(tmp_path, text).splitlines()
    assert len(lines) == 31
    assert max(len(line) for line in lines if line.startswith("    | ")) < 110


def test_a_recipe_from_a_pipe_has_its_lines_too(tmp_path: Path) -> None:
    """The file is read once."""
    import os
    import threading

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("stages: {a: {use: mkae}}\n",))
    writer.start()
    with pytest.raises(RecipeError, match=r"\| stages: \{a: \{use: mkae\}\}"):
        check_recipe(load_recipe(pipe), registry())
    writer.join()
