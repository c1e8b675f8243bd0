"""What a user finds out without running anything."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mmtk.cli import main
from mmtk.cli.show import _lines
from mmtk.discover.component_page import component_page
from mmtk.discover.example import example_node
from mmtk.discover.recipe_graph import as_mermaid
from mmtk.kinds import KINDS
from mmtk.plugins import load_plugins
from mmtk.recipe import check_recipe, load_recipe, shipped
from mmtk.registry import Registration

HOST = load_plugins()
EVERYTHING = [one for kind in KINDS for one in HOST.registry.of_kind(kind)]
ROOT = Path(__file__).parents[3]


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("one", EVERYTHING, ids=lambda one: f"{one.component.kind}-{one.component.name}")
def test_every_component_has_a_page(one: Registration, capsys: pytest.CaptureFixture[str]) -> None:
    page = json.loads(said(capsys, "show", one.component.kind, one.qualified_name, "--json"))
    assert page["about"]
    assert Path(page["defined_in"]).is_file()
    shown = said(capsys, "show", one.component.kind, one.qualified_name)
    for key in page["keys"]:
        assert f"  {key['name']}: {key['type']}" in shown
        assert bool(key["default"]) or key["name"] in page["example"]


@pytest.mark.parametrize("one", HOST.registry.of_kind("stage"), ids=lambda one: one.component.name)
def test_examples_of_stages_pass_the_check_but_for_files(one: Registration, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"stages": {"example": example_node(one, HOST.registry)}}))
    try:
        check_recipe(load_recipe(recipe), HOST.registry)
    except Exception as error:
        problems = re.findall(r"^  \S+recipe.yaml:\d+:\d+  (.*)", str(error), re.MULTILINE) or [str(error)]
        assert [one for one in problems if "there is no file or folder" not in one] == []


def test_a_page_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "show", "itm_filter")
    assert shown.startswith("itm_filter, capfilt_step of mmtk ")
    assert re.search(r"^  checkpoint: artifact checkpoint, required$", shown, re.MULTILINE)
    assert "  threshold: number in [0, 1], default 0.5" in shown
    assert "  use: itm_filter\n  checkpoint: path/to/checkpoint\n" in shown
    assert "What each capfilt_step does:" in shown


def test_a_page_says_how_what_no_recipe_names_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "show", "importer", "blip")
    assert "\n\nIt is called by:\n  mmtk import SRC DST --format blip\n\n" in shown
    assert "In a recipe" not in shown
    assert "  mmtk export RUN DST --format blip\n" in said(capsys, "show", "exporter", "blip")


def test_a_kind_alone_has_its_components_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'loss' is a kind; say 'mmtk show loss NAME' with one of: cross_entropy, " in refused(
        capsys, "show", "loss"
    )


def test_a_component_without_a_docstring_leaves_no_gap() -> None:
    page = component_page(HOST.registry.get("loss", "cross_entropy"), HOST.registry)
    assert list(_lines(page))[1:3] == ["", page.about]
    assert list(_lines(replace(page, about="")))[1:3] == ["", "It takes no keys."]


def test_misspelt_components(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'itm_filter'?" in refused(capsys, "show", "itm_filer")
    assert "did you mean 'head'?" in refused(capsys, "show", "haed", "itm")
    assert "did you mean 'itm'?" in refused(capsys, "show", "head", "itn")
    assert "expected KIND NAME" in refused(capsys, "show", "head", "itm", "itc")
    assert "there is no component 'zzz'; 'mmtk list-plugins' lists them" in refused(capsys, "show", "zzz")


def test_a_name_of_several_kinds_is_asked_about(capsys: pytest.CaptureFixture[str]) -> None:
    names = [one.component.name for one in EVERYTHING]
    twice = next(name for name in names if names.count(name) > 1)
    assert f"several components are called '{twice}'; say '" in refused(capsys, "show", twice)


def test_one_kind_alone(capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(said(capsys, "list-plugins", "--kind", "strategy", "--json"))
    found = {one["name"] for plugin in listed for one in plugin["components"]}
    assert {"single", "ddp", "fsdp2", "fairscale_oss"} <= found
    assert {one["kind"] for plugin in listed for one in plugin["components"]} == {"strategy"}
    table = said(capsys, "list-plugins", "--kind", "command")
    assert "capfilt resift" in table
    assert "webdataset" not in table
    assert "did you mean 'strategy'?" in refused(capsys, "list-plugins", "--kind", "stratgy")


def test_the_shipped_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {one["name"]: one for one in json.loads(said(capsys, "list-recipes", "--json"))}
    on_disk = {
        path.relative_to(ROOT / "recipes").with_suffix("").as_posix()
        for path in (ROOT / "recipes").rglob("*.yaml")
    }
    assert rows.keys() == on_disk
    assert all(one["description"] for one in rows.values())
    assert re.search(r"^quickstart +Animals and food", said(capsys, "list-recipes"), re.MULTILINE)


def test_recipes_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text("# The best one. It has no stages yet.\nstages: {}\n")
    (tmp_path / "other.yaml").write_text("a: 1\n")
    assert said(capsys, "list-recipes", str(tmp_path)) == "mine  The best one.\n"
    assert "there is no folder" in refused(capsys, "list-recipes", str(tmp_path / "none"))


def test_a_shipped_recipe_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "nothing wrong" in said(capsys, "check", "quickstart")
    assert "did you mean 'quickstart'?" in refused(capsys, "check", "quickstrat")
    (tmp_path / "quickstart").write_text("stages: {}\n")
    assert main(["check", "quickstart"]) == 2, "a file of this name comes first"
    assert "expected a mapping of stages" in capsys.readouterr().err
    monkeypatch.setattr(shipped, "CHECKOUT", tmp_path / "no checkout")
    monkeypatch.setattr(shipped, "INSTALLED", ROOT / "recipes")
    assert "nothing wrong" in said(capsys, "check", "emoji")


def test_the_graph_of_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    tree = said(capsys, "graph", str(ROOT / "recipes" / "quickstart.yaml"))
    assert "\nvocabulary (train_wordpiece)\n  <- emoji.human_train\n  <- emoji.web_train\n" in tree
    assert "  ├─ model: med\n  │  ├─ image_encoder: timm_features\n" in tree
    assert "  -> checkpoint (checkpoint)" in tree


def test_mermaid_has_every_stage_and_every_flow() -> None:
    checked = check_recipe(load_recipe(ROOT / "recipes" / "quickstart.yaml"), HOST.registry)
    heading, *lines = as_mermaid(checked)
    assert heading == "flowchart TD"
    boxed = filter(None, (re.fullmatch(r'  (s\d+)\["([\w-]+)<br/>.*"\]', line) for line in lines))
    boxes = {one[1]: one[2] for one in boxed}
    assert set(boxes.values()) == set(checked.stages)
    flows = set()
    for line in lines:
        if arrow := re.fullmatch(r"  (s\d+) -->\|(.*)\| (s\d+)", line):
            flows |= {(boxes[arrow[1]], output, boxes[arrow[3]]) for output in arrow[2].split(", ")}
    wanted = {(source, output, name) for name, one in checked.stages.items() for source, output in one.inputs}
    assert flows == wanted


def test_the_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    findings = json.loads(said(capsys, "doctor", "--json"))
    by_name = {(one["topic"], one["name"]): one for one in findings}
    assert by_name["Versions", "torch"]["detail"] == torch.__version__.partition("+")[0]
    assert by_name["Strategies", "single"]["works"]
    assert by_name["Strategies", "fairscale_fsdp"]["works"] == torch.cuda.is_available()
    assert by_name["Plugins", "blip"]["works"]
    assert {one["name"] for one in findings if one["topic"] == "Extras"} >= {"hf", "ray", "language"}
    assert "\nStrategies\n  ok  ddp: " in said(capsys, "doctor")


def test_the_doctor_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mmtk.discover import doctor

    monkeypatch.setattr(doctor, "_version", lambda name: "" if name in ("ray", "torchdata") else "1")
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "  no  ray: missing: pip install 'mmtk[ray]'" in shown
    assert "  no  torchdata: missing: pip install torchdata" in shown


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("mmtk list", {"list-plugins", "list-recipes"}),
        ("mmtk show he", {"head"}),
        ("mmtk show head it", {"itc", "itm"}),
        ("mmtk check quick", {"quickstart"}),
        ("mmtk check recipes/emo", {"recipes/emoji.yaml"}),
        ("mmtk check quickstart stages.report.ti", {"stages.report.title="}),
        ("mmtk list-plugins --kind capf", {"capfilt_step"}),
        ("mmtk capfilt re", {"resift"}),
        ("mmtk new-plugin x --kind l", {"logger", "loss"}),
        ("mmtk --no-plugin e", {"emoji", "eval"}),
        ("mmtk check quickstart --no-plugin albef --no-plugin fair", {"fairscale"}),
        ("mmtk --no-plugin capfilt check quick", {"quickstart"}),
    ],
)
def test_completion(line: str, answers: set[str]) -> None:
    assert completions(line) == answers


def test_completion_of_profiles(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("profiles: {large: {seed: 1}, last: {}, small:}\n")
    (tmp_path / "own.yaml").write_text("extends: base.yaml\n")
    (tmp_path / "wrong.yaml").write_text("profiles: [large]\n")
    assert completions(f"mmtk run {tmp_path}/own.yaml --profile la") == {"large", "last"}
    assert completions(f"mmtk check {tmp_path}/own.yaml --profile large --profile s") == {"small"}
    assert completions(f"mmtk run {tmp_path}/wrong.yaml --profile l") == set()
    assert completions("mmtk run --profile l") == set()


def completions(line: str) -> set[str]:
    """What the shell is told that a line could go on with."""
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": "/dev/stdout",
        "_ARGCOMPLETE_SHELL": "bash",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "_ARGCOMPLETE_COMP_WORDBREAKS": " ",
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    done = subprocess.run(
        [sys.executable, "-m", "mmtk"], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {one.strip() for one in done.stdout.splitlines()}
