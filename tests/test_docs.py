"""The documentation says what is there: components, kinds, commands, links, recipes and code."""

from __future__ import annotations

import io
import json
import re
import runpy
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pytest
import yaml
from PIL import Image

from mmtk.candidates import Candidate, ImageCandidates
from mmtk.commands import BUILT_IN, Command
from mmtk.config import Range
from mmtk.data.shards import ShardWriter
from mmtk.errors import RecipeError
from mmtk.kinds import KINDS
from mmtk.plugins import PluginHost, load_plugins
from mmtk.recipe import check_recipe, load_recipe
from mmtk.recipe.key_words import KeyWords, default_words
from mmtk.recipe.problems import Problem
from mmtk.recipe.settings import Settings
from mmtk.recipe.yaml_reader import read_yaml
from mmtk.types import RawSample

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
MISTAKES = DOCS / "mistakes.md"  # names what there isn't; made and checked by a test of its own
EXAMPLE = "tests/plugins/mmtk_example"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMPONENT = re.compile(r"\buse: ([\w/]+)")
EXAMPLES_OWN = {"sigmoid", "semi_hard", "clip_score", "hf_captioner"}
PLACEHOLDERS = {"NAME", "my_head"}


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match[1] in languages:
                found.append(Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2]))
    return found


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The names that headings get: lower case, words joined by hyphens, other signs left out."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return load_plugins()


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "make_reference.py"))


def own_components(host: PluginHost) -> Iterator[tuple[str, str]]:
    for plugin in host.plugins:
        if plugin.distribution == "mmtk":
            yield from ((component.kind, component.name) for component in plugin.components)


def test_every_page_is_fenced_properly() -> None:
    assert {page.name for page in PAGES} >= {
        "README.md", "architecture.md", "data.md", "plugins.md", "recipes.md", "reference.md"
    }  # fmt: skip
    for page in PAGES:
        assert "```" not in prose(page), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    assert re.findall(r"^[A-Z]+(?:_[A-Z]+)+$|\b(?:TODO|TBD|XXX)\b", prose(page), re.MULTILINE) == []


def test_the_reference_is_up_to_date(generator: dict[str, Any]) -> None:
    message = "run: python docs/make_reference.py"
    assert (DOCS / "reference.md").read_text(encoding="utf-8") == generator["reference"](), message


def test_every_component_is_in_the_reference_below_its_kind(host: PluginHost) -> None:
    sections = re.split(r"^## ", (DOCS / "reference.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    by_kind = {section.splitlines()[0]: section for section in sections}
    components = list(own_components(host))
    assert len(components) > 30
    for kind, name in components:
        assert f"\n### `{name}`\n" in by_kind[f"Kind `{kind}`"]


def test_every_key_in_the_reference_has_a_meaning() -> None:
    text = (DOCS / "reference.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `") and line.count(" | ") >= 3]
    assert len(rows) > 100
    assert [row for row in rows if row.endswith("|  |")] == []


def test_every_kind_is_in_the_guide_with_what_it_injects() -> None:
    text = (DOCS / "plugins.md").read_text(encoding="utf-8")
    for kind in KINDS.values():
        (row,) = re.findall(rf"^\| `{kind.name}` \|.*$", text, re.MULTILINE)
        assert re.findall(r"`(\w+)`", row.split(" | ")[-1]) == list(kind.injected)
    table = text.partition("## The kinds")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(KINDS)


def test_every_stage_and_its_outputs_are_in_the_recipe_page(host: PluginHost) -> None:
    text = (DOCS / "recipes.md").read_text(encoding="utf-8")
    for kind, name in own_components(host):
        if kind != "stage":
            continue
        declaration, folder = re.findall(rf"^\| `{name}` \|.*$", text, re.MULTILINE)
        outputs = host.registry.get("stage", name).config().OUTPUTS  # type: ignore[union-attr]
        for output, one in outputs.items():
            assert f"`{output}`" in declaration
            assert f"({one.artifact})" in declaration
            assert f"`{one.path}" in folder or one.artifact == "dataset"


def test_every_top_level_key_is_explained() -> None:
    text = (DOCS / "recipes.md").read_text(encoding="utf-8")
    for key in (*Settings.__dataclass_fields__, "extends", "profiles", "definitions", "stages"):
        assert f"\n| `{key}` |" in text


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml_can_be_read_and_names_what_there_is(block: Block, host: PluginHost) -> None:
    problems: list[Problem] = []
    read_yaml(block.text, str(block), problems)
    assert problems == []
    known = {name for _kind, name in own_components(host)} | EXAMPLES_OWN | PLACEHOLDERS
    assert [name for name in COMPONENT.findall(block.text) if name.rpartition("/")[2] not in known] == []


@pytest.mark.parametrize("page", [one for one in PAGES if one != MISTAKES], ids=lambda page: page.name)
def test_recipes_in_the_text_name_what_there_is(page: Path, host: PluginHost) -> None:
    known = {name for _kind, name in own_components(host)} | EXAMPLES_OWN | PLACEHOLDERS | {"PLUGIN/NAME"}
    found = set(COMPONENT.findall(prose(page)))
    assert {name for name in found - known if name.rpartition("/")[2] not in known} == set()


@pytest.fixture
def users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A little made-up dataset where the recipe for own data looks for it, and the shipped recipes."""
    picture = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(picture, "PNG")
    with ShardWriter(tmp_path / "data" / "web", "web") as shards:
        for number in range(4):
            key = f"{number:06d}"
            shards.write(RawSample(key, picture.getvalue(), ("a red square",), image_id=key))
    (tmp_path / "data" / "images").mkdir()
    (tmp_path / "data" / "images" / "red.png").write_bytes(picture.getvalue())
    for name in ("human", "test", "web"):
        items = [{"image": "red.png", "caption": ["a red square", "red"]}]
        (tmp_path / "data" / f"{name}.json").write_text(json.dumps(items), encoding="utf-8")
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def whole_recipes() -> list[Block]:
    found = [block for block in blocks("yaml") if "\nstages:" in block.text and "extends:" not in block.text]
    return [block for block in found if block.page != MISTAKES]


def test_the_recipe_for_own_data_passes_its_check(users_folder: Path, host: PluginHost) -> None:
    (block,) = whole_recipes()
    own = users_folder / "own.yaml"
    own.write_text(block.text, encoding="utf-8")
    checked = check_recipe(load_recipe(own), host.registry)
    assert {"pretrain_noisy", "bootstrapped", "pretrain_bootstrapped", "report"} <= set(checked.stages)
    for overrides in re.findall(r"`mmtk run own\.yaml (\S+=\S+)`", block.page.read_text(encoding="utf-8")):
        check_recipe(load_recipe(own, [overrides]), host.registry)
    (web,) = re.findall(r"`(definitions\.web=\{.*?\})`", block.page.read_text(encoding="utf-8"))
    json_lists = check_recipe(load_recipe(own, [web]), host.registry)
    assert json_lists.stages["bootstrapped"].node.keys["data"].reader.use == "blip_json"
    (users_folder / "data" / "test.json").unlink()
    with pytest.raises(RecipeError, match=r"own\.yaml:\d+:\d+ .*there is no file or folder data/test\.json"):
        check_recipe(load_recipe(own), host.registry)


def commands() -> Iterator[tuple[Block, str]]:
    for block in blocks("sh", "bash", "console"):
        for line in block.text.replace("\\\n", " ").splitlines():
            command = re.sub(r"\s#.*", "", line).removeprefix("$ ").strip()
            yield from ((block, part.strip()) for part in command.split("&&"))


def called(words: list[str], known: Sequence[Command]) -> bool:
    """Whether the words begin with the name of a command, and that of a command in it if it is a group."""
    found = [command for command in known if words[:1] == [command.name]]
    return bool(found) and (not found[0].commands or called(words[1:], found[0].commands))


def test_every_command_exists(host: PluginHost) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    seen = set()
    for block, command in commands():
        program, *arguments = command.split() or [""]
        if program == "mmtk":
            assert called(arguments, [*BUILT_IN, *host.commands]) or arguments[0].startswith("-"), (
                f"{block}: {command}"
            )
            seen.add(arguments[0])
        elif program == "make":
            assert arguments[0] in targets, f"{block}: {command}"
    assert seen >= {"run", "check", "list-plugins"}


@pytest.mark.usefixtures("users_folder")
def test_overrides_in_commands_fit_their_recipes(host: PluginHost) -> None:
    checked = 0
    for block, command in commands():
        match = re.match(r"mmtk (?:run|check) (recipes/(?:quickstart|emoji)\.yaml)(.*)", command)
        if match:
            words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", match[2])]
            words = [word for word in words if not word.startswith("--")]
            check_recipe(load_recipe(match[1], words), host.registry)
            checked += bool(words) and block.page.name == "recipes.md"
    assert checked >= 2


def test_the_recipe_on_top_of_another_is_right_as_printed(host: PluginHost, tmp_path: Path) -> None:
    shutil.copy(ROOT / "recipes" / "emoji.yaml", tmp_path)
    (block,) = [one for one in blocks("yaml") if one.page.name == "recipes.md" and "extends: " in one.text]
    (tmp_path / "smaller.yaml").write_text(block.text, "utf-8")
    checked = check_recipe(load_recipe(tmp_path / "smaller.yaml"), host.registry)
    assert checked.stages["vocabulary"].node.keys["vocab_size"] == 900
    assert checked.stages["report"].node.keys["title"] == "smaller"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page: Path) -> None:
    links = [link for link in LINK.findall(prose(page)) if "://" not in link]
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_the_guide_quotes_the_example_package_as_it_is() -> None:
    quoted = set()
    for block in blocks("python", "toml"):
        name, _, code = block.text.partition("\n")
        path = name.removeprefix("# ")
        if path.startswith(EXAMPLE):
            assert (ROOT / path).read_text(encoding="utf-8").strip() == code.strip(), (
                f"{block} is out of date"
            )
            quoted.add(path.removeprefix(f"{EXAMPLE}/"))
    package = (ROOT / EXAMPLE / "mmtk_example").glob("*.py")
    files = {f"mmtk_example/{path.name}" for path in package if path.name != "__init__.py"}
    assert quoted == files | {"pyproject.toml"}


def test_every_capfilt_step_is_in_its_page_with_the_keys_it_takes(host: PluginHost) -> None:
    text = (DOCS / "capfilt_steps.md").read_text(encoding="utf-8")
    table = text.partition("## Steps there are")[2].partition("\n\nA pass")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)$", table, re.MULTILINE))
    assert rows.keys() == {name for kind, name in own_components(host) if kind == "capfilt_step"}
    for name, row in rows.items():
        keys = set(re.findall(r"`(\w+)`", row.split(" | ")[1]))
        fields = host.registry.get("capfilt_step", name).config().__dataclass_fields__  # type: ignore[union-attr]
        assert keys
        assert keys <= set(fields)


@pytest.mark.usefixtures("users_folder")
def test_the_steps_before_any_model_pass_their_check(host: PluginHost) -> None:
    (block,) = [one for one in blocks("yaml") if one.page.name == "capfilt_steps.md"]
    data = {"reader": {"use": "webdataset", "path": "data/web"}, "image_transform": {"use": "blip_test"}}
    stage = {"use": "capfilt", "data": data, **yaml.safe_load(block.text)}
    Path("own.yaml").write_text(yaml.safe_dump({"name": "own", "stages": {"capfilt": stage}}), "utf-8")
    checked = check_recipe(load_recipe(Path("own.yaml")), host.registry)
    assert [step.use for step in checked.stages["capfilt"].node.keys["steps"]][:2] == [
        "dedup",
        "decontaminate",
    ]


def test_the_step_of_ten_lines_works_as_it_stands() -> None:
    from mmtk_capfilt.decisions import StepRules, decide

    (block,) = [one for one in blocks("python") if one.page.name == "capfilt_steps.md"]
    names: dict[str, Any] = {}
    exec(block.text, names)
    step = names["DistinctWords"](threshold=0.4)
    texts = [Candidate(text, "web", text) for text in ("buy buy buy buy now now", "a red red cat")]
    picture = Image.new("RGB", (8, 8))
    (image,) = step([ImageCandidates(RawSample("k", b"", (), "k"), 0, picture, Any, 0, tuple(texts))])
    assert [one.scores for one in image.candidates] == [{"distinct_words": 2 / 6}, {"distinct_words": 3 / 4}]
    decided = decide(image.candidates, [StepRules("distinct_words", step.rules)])
    assert [one.decision for one in decided] == ["dropped", "kept"]


def test_the_names_of_the_api_exist() -> None:
    import mmtk.api

    text = (DOCS / "plugins.md").read_text(encoding="utf-8")
    errors = set(re.findall(r"`(\w+Error)`", text)) - {"ValueError"}
    assert len(errors) >= 4
    for name in errors | {"MatchingHead", "CaptioningHead", "Blueprint", "Slot", "Input", "Range", "Output"}:
        assert name in text
        assert hasattr(mmtk.api, name)


def test_the_ledgers_columns_and_its_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from mmtk_capfilt.ledger import LedgerRow, schema, to_table
    from mmtk_capfilt.parts import write_table

    text = (DOCS / "data.md").read_text(encoding="utf-8")
    table = text.partition("## The ledger")[2].partition("\n\nWith")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", table, re.MULTILINE)
    types = {"string": "string", "float32": "float", "bool": "bool"}
    columns = [(one.name, str(one.type)) for one in schema((), ())]
    assert [(name, types[kind]) for name, kind in rows] == columns

    path = tmp_path / "runs" / "quickstart" / "bootstrapped" / "ledger.parquet"
    path.parent.mkdir(parents=True)
    below = {"decision": "dropped", "step": "itm_filter", "reason": "itm_probability below 0.5"}
    ledger = [
        LedgerRow("s", "a", "a", "web", "far off", **below, scores={"itm_probability": 0.1}),
        LedgerRow("s", "b", "b", "web", "nearly right", **below, scores={"itm_probability": 0.4}),
        LedgerRow("s", "c", "c", "web", "right", scores={"itm_probability": 0.9}),
        LedgerRow("s", "d", "d", "web", "", decision="dropped", reason="empty text", final=True),
    ]
    write_table(to_table(ledger, schema((), ())), path)
    monkeypatch.chdir(tmp_path)
    (block,) = [one for one in blocks("python") if one.page.name == "data.md"]
    exec(block.text, {})
    printed = [line.split("  ")[1] for line in capsys.readouterr().out.splitlines()]
    assert printed == ["b", "a", "d"]


def test_reasons_in_the_data_page_are_those_of_the_code() -> None:
    table = (DOCS / "data.md").read_text(encoding="utf-8").partition("## What is quarantined")[2]
    first_cells = re.findall(r"^\| (`.*?) \|", table.partition("\n## ")[0], re.MULTILINE)
    reasons = [reason for cell in first_cells for reason in re.findall(r"`(.+?)`", cell)]
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "mmtk" / "data").rglob("*.py"))
    assert len(reasons) > 12
    assert [reason for reason in reasons if f'"{reason}' not in sources] == []


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "whole number"),
        (float | None, "number or null"),
        (tuple[float, float], "list of 2: number"),
        (tuple[str, ...] | None, "list of text or null"),
        (dict[str, Path], "mapping of path"),
    ],
)
def test_types_in_words(annotation: Any, words: str) -> None:
    assert KeyWords(str, str).type(annotation) == words


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (Range(1), "from 1"),
        (Range(0, low_open=True), "above 0"),
        (Range(0, 1), "in [0, 1]"),
        (Range(0, 1, high_open=True), "in [0, 1)"),
    ],
)
def test_bounds_in_words(bounds: Range, words: str) -> None:
    assert KeyWords(str, str).type(Annotated[float, bounds]) == f"number {words}"


@pytest.mark.parametrize(
    ("default", "words"),
    [(None, "null"), (True, "true"), ("", '""'), (0.25, "0.25"), (float("inf"), ".inf"), ((1, 2), "[1, 2]")],
)
def test_defaults_are_yaml(default: Any, words: str) -> None:
    assert default_words(default) == words
    again = yaml.safe_load(words)
    assert again == (list(default) if isinstance(default, tuple) else default)
