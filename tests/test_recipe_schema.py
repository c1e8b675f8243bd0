"""``mmtk schema``: what an editor says of recipes."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path
from typing import Annotated, Any

import pytest
from jsonschema import Draft7Validator

from mmtk.cli import main
from mmtk.config import Range
from mmtk.kinds import KINDS
from mmtk.plugins import load_plugins
from mmtk.recipe.json_schema import recipe_schema
from mmtk.recipe.marks import plain
from mmtk.recipe.yaml_reader import read_yaml
from mmtk.registry import Component, Registration, Registry
from tests.host.recipe.parts import registry as parts_registry
from tests.language_server import Found, LanguageServer
from tests.test_bad_input import RECIPE

RECIPES = sorted((Path(__file__).parent.parent / "recipes").rglob("*.yaml"))
NAMES = [str(path.relative_to(path.parents[1])) for path in RECIPES]


@pytest.fixture(scope="module")
def validator() -> Draft7Validator:
    schema = recipe_schema(load_plugins().registry)
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def data(text: str) -> Any:
    return plain(read_yaml(text, "x.yaml", []))


def faults(validator: Draft7Validator, text: str) -> list[str]:
    return [error.message for error in validator.iter_errors(data(text))]


@pytest.mark.parametrize("path", RECIPES, ids=NAMES)
def test_every_shipped_recipe_is_valid(validator: Draft7Validator, path: Path) -> None:
    assert faults(validator, path.read_text("utf-8")) == []


WRONG = {
    "a misspelt key of the recipe": ("name: tiny", "nmae: tiny"),
    "a misspelt key of a stage": ("epochs: 2", "epohcs: 2"),
    "a misspelt key deep inside": ("patch_size: 16", "patch_sise: 16"),
    "a misspelt key of a record": ("batch_size: 4", "batch_sise: 4"),
    "an unknown stage component": ("use: train\n", "use: trian\n"),
    "an unknown component in a slot": ("use: itc_weighted", "use: itc_wieghted"),
    "a component of another kind": ("momentum: {use: ema, queue_size: 20}", "momentum: {use: adamw}"),
    "a word for a whole number": ("epochs: 2", "epochs: two"),
    "a fraction for a whole number": ("vocab_size: 60", "vocab_size: 60.5"),
    "a list for a number": ("embed_dim: 8", "embed_dim: [8]"),
    "a number that is too small": ("depth: 1, heads: 2}", "depth: 0, heads: 2}"),
    "a number that is too large": ("threshold: 0}", "threshold: 1.5}"),
    "a word that is no choice": ("epochs: 2", "precision: {autocast: float8}\n    epochs: 2"),
    "a component without its name": ("model:\n      use: med\n", "model:\n"),
    "a name for a component": ("momentum: {use: ema, queue_size: 20}", "momentum: ema"),
    "a required key that is missing": (
        "{use: wordpiece, vocab: {from: vocabulary.vocabulary},",
        "{use: wordpiece,",
    ),
    "an input that is none": ("{from: vocabulary.vocabulary}", "{from: vocabulary}"),
    "an input with more keys": ("{from: vocabulary.vocabulary}", "{from: vocabulary.vocabulary, x: 1}"),
    "an input of another type": ("{from: vocabulary.vocabulary}", "{from: pretrain.checkpoint}"),
    "an output that no stage has": ("{from: vocabulary.vocabulary}", "{from: vocabulary.vocabluary}"),
    "no stages": ("stages:\n", "stages: {}\nprofiles:\n"),
    "a stage's name that is no folder's": ("  scores:\n", "  a/b:\n"),
    "null where there must be something": ("embed_dim: 8", "embed_dim: null"),
    "a device that is a number": ("device: cpu", "device: 0"),
    "an unknown component in a definition": ("{use: webdataset, path: web}", "{use: webdatset, path: web}"),
    "a misspelt key in a definition": ("{use: webdataset, path: web}", "{use: webdataset, pth: web}"),
    "a misspelt key in a profile": ("stages:\n", "profiles: {a: {stagse: {}}}\nstages:\n"),
    "a wrong value in a profile": (
        "stages:\n",
        "profiles: {a: {stages: {p: {use: train, epochs: x}}}}\nstages:\n",
    ),
}


def test_the_recipe_of_the_wrong_ones_is_valid(validator: Draft7Validator) -> None:
    assert faults(validator, RECIPE) == []


@pytest.mark.parametrize(("right", "wrong"), WRONG.values(), ids=WRONG)
def test_a_wrong_recipe_is_not(validator: Draft7Validator, right: str, wrong: str) -> None:
    assert right in RECIPE
    assert faults(validator, RECIPE.replace(right, wrong, 1))


@pytest.mark.parametrize(
    ("right", "also_right"),
    [
        ("epochs: 2", "epochs: ${definitions.epochs}"),
        ("epochs: 2", "epochs: '???'"),
        ("use: ema,", "use: momentum/ema,"),
        ("{use: ema, queue_size: 20}", "null"),
        ("momentum: {use: ema, queue_size: 20}", "optimizer: {lr: 1.0e-3}"),
        ("{from: vocabulary.vocabulary}", "vocab.txt"),
        ("{from: vocabulary.vocabulary}", "{from: '${definitions.words}'}"),
        ("device: cpu", "environment: [DATA]"),
        ("stages:\n", "profiles: {laptop: {device: cpu, stages: {pretrain: {epochs: 1}}}}\nstages:\n"),
    ],
)
def test_what_else_is_right(validator: Draft7Validator, right: str, also_right: str) -> None:
    assert right in RECIPE
    assert faults(validator, RECIPE.replace(right, also_right, 1)) == []


def test_a_recipe_on_top_of_another_may_leave_keys_out_but_not_misspell_them(
    validator: Draft7Validator,
) -> None:
    assert (
        faults(
            validator, "extends: [a.yaml, b.yaml]\nstages: {pretrain: {epochs: 3, model: {embed_dim: 4}}}\n"
        )
        == []
    )
    assert faults(validator, "extends: a.yaml\nstages: {x: {use: train, epohcs: 3}}\n")
    assert faults(validator, "extends: 3\n")


def test_every_sort_of_field_that_a_config_can_have() -> None:
    validator = Draft7Validator(recipe_schema(parts_registry()))
    start = "stages:\n  make: {use: make}\n  work:\n    use: work\n    "
    for line in (
        "heads: {one: {use: itm, loss: {use: margin}}, two: {use: signature, scale: 2}}",
        "parts: [{use: smooth, smoothing: 0.5}]",
        "loggers: {lines: {every: 7}, more: {use: lines}}",
        "blobs: [{from: make.blob}, a.bin]",
        "named: {one: {from: make.words}}",
        "sizes: {heads: 8, shape: [1, 2]}",
        "stride: 16",
        "colour: blue",
        "either: x",
        "free: {a: [1]}",
    ):
        assert faults(validator, start + line) == [], line
    for line in (
        "heads: {one: {every: 7}}",
        "parts: {use: smooth}",
        "parts: [{use: smooth, smoothing: 1}]",
        "loggers: {lines: {evry: 7}}",
        "loggers: {more: {every: 7}}",
        "sizes: {shape: [1]}",
        "sizes: {shape: [1, x]}",
        "stride: 12",
        "colour: rde",
        "either: 1.5",
        "heads: {a: {use: signature, scale: -1}}",
        "heads: {a: {use: no_model}}",
    ):
        assert faults(validator, start + line), line


def test_an_input_names_the_outputs_that_fit(validator: Draft7Validator) -> None:
    output = validator.schema["definitions"]["output.checkpoint"]
    assert output["description"] == (
        "An output of another stage, of the type checkpoint: STAGE.checkpoint of train."
    )
    assert output["properties"]["from"]["examples"] == ["STAGE.checkpoint"]


def test_a_stage_that_can_not_be_read_may_make_any_output() -> None:
    broken = Registration(Component("stage", "broken", "no.such:Stage"), "parts", "mmtk-parts", "1.0")
    known = parts_registry()
    validator = Draft7Validator(
        recipe_schema(Registry([*(one for kind in KINDS for one in known.of_kind(kind)), broken]))
    )
    start = "stages:\n  make: {use: make}\n  other: {use: broken}\n  work: {use: work, named: "
    assert faults(validator, start + "{one: {from: other.anything}}}") == []
    whole = Draft7Validator(recipe_schema(known))
    assert faults(whole, start.replace("  other: {use: broken}\n", "") + "{one: {from: make.anything}}}")


def endless(
    most: float = math.inf,
    size: Annotated[float, Range(0, math.inf)] = 1.0,
    spans: tuple[float, ...] = (math.inf,),
) -> object:
    """A loss without bounds, of which JSON has no numbers."""
    return most, size, spans


def test_infinity_is_left_out_since_json_has_none() -> None:
    one = Registration(Component("loss", "endless", f"{__name__}:endless"), "parts", "mmtk-parts", "1.0")
    schema = recipe_schema(Registry([one]))
    json.dumps(schema, allow_nan=False)
    keys = schema["definitions"]["part.loss.parts.endless"]["properties"]
    assert "default" not in keys["most"]
    assert keys["size"]["default"] == 1.0
    assert {"type": "number", "minimum": 0} in keys["size"]["anyOf"]


def test_descriptions_and_defaults_are_the_configs_own(validator: Draft7Validator) -> None:
    definitions = validator.schema["definitions"]
    lr = definitions["optimizer.builtin.adamw"]["properties"]["lr"]
    assert lr["description"].startswith("The peak learning rate, which the schedule scales")
    assert lr["default"] == 3e-4
    assert definitions["optimizer.builtin.adamw"]["description"] == "AdamW with decoupled weight decay."


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str], validator: Draft7Validator) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == validator.schema


@pytest.mark.slow
def test_in_the_language_server_that_editors_use(tmp_path: Path, validator: Draft7Validator) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(tmp_path), "yaml-language-server"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"yaml-language-server can't be fetched: {done.stderr.strip().splitlines()[-1:]}")
    (tmp_path / "recipe.schema.json").write_text(json.dumps(validator.schema))
    modeline = "# yaml-language-server: $schema=recipe.schema.json\n"
    with LanguageServer(tmp_path / "node_modules/.bin/yaml-language-server", tmp_path) as server:
        for path in RECIPES:
            assert server.problems(modeline + path.read_text("utf-8")) == [], path
        for name, (right, wrong) in WRONG.items():
            assert server.problems(modeline + RECIPE.lstrip().replace(right, wrong, 1)), name
        text = modeline + RECIPE.lstrip().replace("embed_dim: 8", "embed_dmi: 8")
        assert server.problems(text) == [
            Found(text.splitlines().index("      embed_dmi: 8") + 1, "Property embed_dmi is not allowed.")
        ]
