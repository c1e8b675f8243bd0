from __future__ import annotations

from pathlib import Path

import pytest

from mmtk.errors import RecipeError
from mmtk.recipe import CheckedRecipe, check_recipe, load_recipe
from tests.host.recipe.parts import registry

RECIPE = """\
definitions:
  ratio: 0.5
stages:
  make: {use: make}
  work: {use: work, ratio: "${definitions.ratio}", heads: {one: {use: itm}}}
profiles:
  laptop:
    device: cpu
    run_dir: runs/laptop
    definitions: {ratio: 0.25}
    stages: {work: {count: 5}}
  quick:
    stages: {work: {count: 6, heads: {one: {negatives: 2}}}}
  empty:
"""


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def check(text: str, *overrides: str, profiles: tuple[str, ...] = ()) -> CheckedRecipe:
    Path("recipe.yaml").write_text(text, "utf-8")
    return check_recipe(load_recipe("recipe.yaml", overrides, profiles), registry())


def fault(text: str, *overrides: str, profiles: tuple[str, ...] = ()) -> str:
    with pytest.raises(RecipeError) as caught:
        check(text, *overrides, profiles=profiles)
    return str(caught.value).splitlines()[0]


def test_without_a_profile_nothing_changes() -> None:
    recipe = check(RECIPE)
    keys = recipe.stages["work"].node.keys
    assert (recipe.device, keys["ratio"], keys["count"]) == ("auto", 0.5, 3)


def test_a_profile_is_what_equal_overrides_are() -> None:
    profile = check(RECIPE, profiles=("laptop",))
    overrides = ["device=cpu", "run_dir=runs/laptop", "definitions.ratio=0.25", "stages.work.count=5"]
    assert profile == check(RECIPE, *overrides)
    assert profile.stages["work"].node.keys["ratio"] == 0.25


def test_of_several_profiles_the_later_one_wins_and_overrides_win_over_all() -> None:
    keys = check(RECIPE, profiles=("laptop", "quick")).stages["work"].node.keys
    assert (keys["ratio"], keys["count"], keys["heads"]["one"].keys["negatives"]) == (0.25, 6, 2)
    assert check(RECIPE, profiles=("quick", "laptop")).stages["work"].node.keys["count"] == 5
    last = check(RECIPE, "stages.work.count=7", profiles=("laptop", "quick"))
    assert last.stages["work"].node.keys["count"] == 7
    assert check(RECIPE, profiles=("empty",)) == check(RECIPE)


def test_an_unknown_profile() -> None:
    assert fault(RECIPE, profiles=("latpop",)) == (
        "command line: --profile latpop: the recipe has no profile 'latpop'; did you mean 'laptop'?"
    )
    assert fault(RECIPE, profiles=("zzz",)).endswith("no profile 'zzz'; there are: laptop, quick, empty")
    assert fault("stages: {make: {use: make}}\n", profiles=("a",)).endswith("there are: none")


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        ("[laptop]", "recipe.yaml:1:11  profiles: expected a mapping of profiles, each a mapping of keys"),
        ("{a: 3}", "recipe.yaml:1:15  profiles.a: expected a mapping of keys to change, not 3"),
        ("{a: {stagse: {}}}", "recipe.yaml:1:16  profiles.a.stagse: unknown key of a profile; did you mean "),
        ("{a: {extends: x}}", "recipe.yaml:1:16  profiles.a.extends: unknown key of a profile; there are: "),
    ],
)
def test_profiles_that_are_none_are_found_though_nobody_asks_for_them(profiles: str, message: str) -> None:
    assert fault(f"profiles: {profiles}\nstages: {{make: {{use: make}}}}\n").startswith(message)


def test_a_fault_within_a_profile_has_its_place() -> None:
    text = RECIPE.replace("count: 5", "cuont: 5")
    check(text)
    assert fault(text, profiles=("laptop",)).startswith("recipe.yaml:11:21  stages.work.cuont: unknown key; ")


def test_a_profile_of_an_extended_recipe_can_be_changed() -> None:
    Path("base.yaml").write_text(RECIPE)
    text = "extends: base.yaml\nprofiles: {laptop: {stages: {work: {count: 8}}}}\n"
    recipe = check(text, profiles=("laptop",))
    assert (recipe.device, recipe.stages["work"].node.keys["count"]) == ("cpu", 8)


def test_later_bases_win_and_the_recipe_wins_over_all() -> None:
    Path("one.yaml").write_text("seed: 1\nname: one\n" + RECIPE)
    Path("two.yaml").write_text("seed: 2\nstages: {work: {count: 2, on: true}}\n")
    recipe = check("extends: [one.yaml, two.yaml]\nstages: {work: {count: 9}}\n")
    keys = recipe.stages["work"].node.keys
    assert (recipe.name, recipe.seed, keys["count"], keys["on"], keys["ratio"]) == ("recipe", 2, 9, True, 0.5)
    other = check("extends: [two.yaml, one.yaml]\n").stages["work"].node
    assert other.use == "work"


def test_a_base_of_two_bases_is_no_circle_and_read_once() -> None:
    Path("root.yaml").write_text("seed: 5\nseed: 6\n" + RECIPE)
    names = ["root"]
    for level in range(30):
        for side in "ab":
            bases = ", ".join(f"{name}.yaml" for name in names)
            Path(f"{side}{level}.yaml").write_text(f"extends: [{bases}]\n")
        names = [f"a{level}", f"b{level}"]
    document_fault = fault(f"extends: [{names[0]}.yaml, {names[1]}.yaml]\n")
    assert document_fault.startswith("root.yaml:2:1  seed: the key stands twice")


def test_a_circle_through_the_second_base() -> None:
    Path("one.yaml").write_text(RECIPE)
    Path("two.yaml").write_text("extends: [one.yaml, recipe.yaml]\n")
    assert fault("extends: [one.yaml, two.yaml]\n").startswith(
        "two.yaml:1:21  extends: recipes extend each other in a circle: recipe.yaml -> two.yaml -> rec"
    )
