"""The section on a real, untrained MED, and on a head whose maps are known."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from mmtk_capfilt.ledger import LedgerRow
from mmtk_capfilt.report.gradcam import GradcamSection
from mmtk_capfilt.report.heat import LONGEST_EDGE, heat_uri
from PIL import Image
from rich.console import Console

from mmtk.api import CheckpointError, DataError, RawSample, RecipeError, TextMaps, WordMap
from mmtk.data.images.transforms import BlipTest
from mmtk.data.shards import ShardWriter
from mmtk.data.texts import BlipCaption
from mmtk.engine.checkpoint import LearnerNodes, build_learner, load_learner, save_learner
from mmtk.plugins import load_plugins
from mmtk.recipe import check_recipe, load_recipe
from mmtk.recipe.build import from_plain
from mmtk.registry import Registry
from mmtk.stages.runner import run_recipe
from tests.capfilt.report.samples import (
    ListReader,
    ReaderPlan,
    failed_row,
    pair,
    picture,
    text_row,
    write_ledger,
)
from tests.host.report.reading import HOSTILE, Page, check_harmless

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "blue", "cat", "dog", "##s", "of", "text", "web"]
RED = picture("red", (48, 24))


class Plan:
    """A blueprint of what exists already."""

    def __init__(self, part: Any) -> None:
        self._part = part

    def build(self, **_: Any) -> Any:
        return self._part


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_plugins().registry


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Mapping[str, Path]:
    """Learners with the heads that their names say."""
    folder = tmp_path_factory.mktemp("checkpoints")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    model = {
        "use": "med",
        "image_encoder": {
            "use": "timm_vit", "image_size": 32, "patch_size": 8, "width": 16, "depth": 1, "heads": 2
        },
        "text_encoder": {
            "use": "med_bert", "width": 16, "depth": 3, "heads": 2, "hidden_width": 32, "max_positions": 32
        },
        "tokenizer": {"use": "wordpiece", "vocab": str(folder / "vocab.txt"), "max_length": 8},
        "embed_dim": 8,
    }  # fmt: skip
    for name in ("itm", "lm"):
        nodes = LearnerNodes(
            from_plain("model", model, registry), {name: from_plain("head", {"use": name}, registry)}
        )
        torch.manual_seed(3)
        learner = build_learner(nodes, registry)
        with torch.no_grad():
            for parameter in learner.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
        save_learner(learner.state_dict(), nodes, folder / name)
    return {name: folder / name for name in ("itm", "lm")}


class Maker:
    """Makes sections of a ledger on the checkpoint with the head ``itm``."""

    def __init__(self, folder: Path, checkpoints: Mapping[str, Path], registry: Registry) -> None:
        self.folder, self.checkpoints, self.registry = folder, checkpoints, registry

    def __call__(
        self, rows: Sequence[LedgerRow], images: Mapping[str, bytes | None] | None = None, **changes: Any
    ) -> GradcamSection:
        keys = dict.fromkeys(row.key for row in rows)
        reader = ListReader(dict(images if images is not None else dict.fromkeys(keys, RED)))
        given = {
            "checkpoint": self.checkpoints["itm"],
            "image_transform": Plan(BlipTest(32)),
            "text_transform": Plan(BlipCaption()),
            "count": 12,
            "layer": None,
            "title": "Words",
            "device": "cpu",
        } | changes
        return GradcamSection(
            ledger=write_ledger(self.folder, rows),
            images=[ReaderPlan(reader)],
            registry=self.registry,
            **given,
        )


@pytest.fixture
def section(tmp_path: Path, checkpoints: Mapping[str, Path], registry: Registry) -> Maker:
    return Maker(tmp_path, checkpoints, registry)


class KnownHead:
    """Sees every word at the place that its first letter says, ``a`` top left, and nothing in ``of``."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int | None]] = []

    def word_maps(
        self,
        model: Any,  # noqa: ARG002
        images: torch.Tensor,
        texts: Sequence[str],
        layer: int | None = None,
    ) -> list[TextMaps]:
        assert len(images) == len(texts)
        self.asked.append((len(texts), layer))
        return [TextMaps(torch.tensor([0.0, 2.0]), tuple(map(self._map, text.split()[:4]))) for text in texts]

    def _map(self, word: str) -> WordMap:
        weights = torch.zeros(2, 2)
        if word != "of":
            weights.view(-1)[ord(word[0]) % 4] = len(word) / 100
        return WordMap(word, weights)


def known(section: GradcamSection, monkeypatch: pytest.MonkeyPatch) -> KnownHead:
    head = KnownHead()
    monkeypatch.setattr(section, "_head", head)
    return head


def page_of(section: GradcamSection) -> Page:
    page = Page(section.html())
    check_harmless(page)
    return page


def decoded(uri: str) -> np.ndarray:
    image = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/webp;base64,"))))
    return np.asarray(image.convert("RGBA")).astype(float)


def test_every_word_can_be_chosen_and_has_the_models_own_map(
    section: Maker, checkpoints: Mapping[str, Path], registry: Registry
) -> None:
    made = section(
        [text_row("k", "web", "A red cat!", 0.9), text_row("k", "synthetic", "blue dogs of a web", 0.1)]
    )
    page = page_of(made)
    learner = load_learner(checkpoints["itm"], registry)
    texts = ["a red cat", "blue dogs of a web"]
    pixels = BlipTest(32)(Image.open(io.BytesIO(RED)).convert("RGB"), torch.Generator())
    maps = learner.heads["itm"].word_maps(learner.model, torch.stack([pixels, pixels]), texts)
    spoken = [word for one in maps for word in one.words]
    assert [e.text for e in page.all("bdi")] == [*(word.word for word in spoken), "k"]
    scores = [one.logits.softmax(0)[1].item() for one in maps]
    assert [e.text for e in page.all("span", "score")] == [f"ITM {score:.2f}" for score in scores]
    seen = [word for word in spoken if word.weights.max() > 0]
    assert len(seen) > 3
    heats = page.all("img", "heat")
    assert [e.attributes["src"] for e in heats] == [
        heat_uri((word.weights / word.weights.max()).numpy(), (48, 24)) for word in seen
    ]
    assert {e.attributes["alt"] for e in heats} == {""}
    assert "4 \N{MULTIPLICATION SIGN} 4 places" in page.all("p", "note")[0].text


def test_one_group_a_picture_with_the_picture_alone_chosen(section: Maker) -> None:
    page = page_of(section([*pair("a", 0.9, 0.8), *pair("b", 0.1, 0.8)]))
    inputs = page.all("input")
    assert {e.attributes["type"] for e in inputs} == {"radio"}
    groups = [e.attributes["name"] for e in inputs]
    assert len(set(groups)) == 2
    assert [e.attributes["name"] for e in inputs if "checked" in e.attributes] == list(dict.fromkeys(groups))
    assert len(inputs) == len(page.all("img", "heat")) + 2
    assert len(page.all("label")) == len(inputs)


def test_words_without_a_map_can_not_be_chosen(section: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    made = section([text_row("k", "web", "picture of cat", 0.9)])
    known(made, monkeypatch)
    page = page_of(made)
    assert [e.text for e in page.all("label")] == ["Picture alone", "picture", "cat"]
    assert page.one("span", "mute").text == "of"
    shares = [e.attributes["style"] for e in page.all("label") if "style" in e.attributes]
    assert shares == ["--share: 100%", "--share: 43%"]  # 3 of 7 letters


def test_a_text_that_is_cut_says_so(section: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    made = section([text_row("k", "web", "one two three four five", 0.9)])
    known(made, monkeypatch)
    page = page_of(made)
    assert [e.text for e in page.all("bdi")] == ["one", "two", "three", "four", "k"]
    assert page.one("span", "mute").attributes["title"] == "longer than the filter reads"


def test_kept_and_dropped_as_in_the_ledger(section: Maker) -> None:
    page = page_of(section(pair("a", 0.1, 0.9)))
    assert [e.text.rpartition(" ITM")[0] for e in page.all("p", "judged")] == [
        "web ✕ dropped",
        "synthetic ✓ kept",
    ]


def test_scores_of_another_filter_are_noticed(section: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    probability = torch.tensor([0.0, 2.0]).softmax(0)[1].item()
    own, other = (
        section([text_row("a", "web", "a", probability), text_row("a", "synthetic", "b", score)])
        for score in (probability + 0.005, 0.3)
    )
    for made in (own, other):
        known(made, monkeypatch)
    assert "checkpoint" not in page_of(own).text
    assert "1 of 2 differ from the ledger" in page_of(other).text


def test_layer_and_batches_reach_the_head(section: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    made = section([row for n in range(10) for row in pair(f"k{n}", 0.1, 0.9)], layer=1)
    head = known(made, monkeypatch)
    assert len(page_of(made).all("li", "sight")) == 10
    assert head.asked == [(16, 1), (4, 1)]


def test_readers_of_a_fold_fill_the_page(section: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row for n in range(20) for row in pair(f"k{n:02}", 0.1, 0.9)]
    made = section(rows, {f"k{n:02}": RED for n in range(0, 20, 2)}, count=6)
    known(made, monkeypatch)
    keys = [e.attributes["alt"] for e in page_of(made).all("img") if e.attributes["alt"]]
    assert len(keys) == 6
    assert all(int(key[-2:]) % 2 == 0 for key in keys)


def test_what_can_not_be_shown_is_left_out(section: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        *pair("a", 0.9, 0.9),
        *pair("damaged", 0.9, 0.9),
        *pair("missing", 0.9, 0.9),
        failed_row("failed"),
        text_row("short", "web", "x", None, "1 words, fewer than 2"),
        text_row("h", "human", "a cat", None),
    ]
    made = section(rows, {"a": RED, "damaged": b"no image", "failed": RED, "short": RED, "h": RED})
    known(made, monkeypatch)
    page = page_of(made)
    assert [e.attributes["alt"] for e in page.all("img") if e.attributes["alt"]] == ["Picture a"]


def test_nothing_to_show_is_said(section: Maker) -> None:
    assert page_of(section([])).one("p", "empty").text == "The ledger has no text with an ITM probability."
    none = page_of(section(pair("a", 0.9, 0.9), {}))
    assert none.one("p", "empty").text.startswith("None of the pictures could be read")


@pytest.mark.parametrize("text", [HOSTILE, "'\" onmouseover=alert(1)", "{{ 7 * 7 }} </style>", "שלום עולם"])
def test_texts_and_keys_are_escaped(section: Maker, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    made = section([text_row(f"k{text}", "web", text, 0.9)])
    known(made, monkeypatch)
    page = page_of(made)
    words = BlipCaption()(text).split()[:4]
    assert [e.text for e in page.all("bdi")][: len(words)] == words
    assert page.all("p", "chips")[1].attributes["dir"] == "auto"


def test_two_sections_do_not_switch_each_other(section: Maker) -> None:
    names = [
        {e.attributes["name"] for e in page_of(section(pair("a", 0.9, 0.9), title=title)).all("input")}
        for title in ("One", "Two")
    ]
    assert not names[0] & names[1]


def test_a_head_that_can_not_map_words_is_named(section: Maker, checkpoints: Mapping[str, Path]) -> None:
    with pytest.raises(
        CheckpointError, match=r"/lm: this needs a head that can say where .* heads: lm \(LmHead\)"
    ):
        section(pair("a", 0.9, 0.9), checkpoint=checkpoints["lm"])


def test_a_layer_that_is_not_there(section: Maker) -> None:
    with pytest.raises(RecipeError, match="layer 2: the model has 3 layers of cross-attention"):
        section(pair("a", 0.9, 0.9), layer=2).html()


def test_another_text_transform_than_the_passs(section: Maker) -> None:
    with pytest.raises(
        DataError, match=r"a: the filter has scored a text that text_transform refuses: empty text"
    ):
        section([text_row("a", "web", "#:;", 0.9)]).html()


def test_a_recipe_makes_it_by_names_and_paths(
    tmp_path: Path, checkpoints: Mapping[str, Path], registry: Registry
) -> None:
    with ShardWriter(tmp_path / "web", "web") as shards:
        shards.write(RawSample("k", RED, ("a red cat",), image_id="k"))
    section = {
        "use": "gradcam",
        "checkpoint": str(checkpoints["itm"]),
        "ledger": str(write_ledger(tmp_path, [text_row("k", "web", "a red cat", 0.9)])),
        "images": [{"use": "webdataset", "path": str(tmp_path / "web")}],
        "image_transform": {"use": "blip_test", "size": 32},
    }
    content = {
        "name": "words",
        "device": "cpu",
        "run_dir": str(tmp_path / "run"),
        "stages": {"report": {"use": "report", "sections": [section]}},
    }
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(content), encoding="utf-8")
    run_recipe(check_recipe(load_recipe(recipe), registry), registry, Console(file=io.StringIO()))
    page = Page((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    check_harmless(page)
    assert [e.text for e in page.all("bdi")] == ["a", "red", "cat", "k"]
    assert page.all("img", "heat")


def test_the_veil_is_lifted_where_the_weight_is_and_has_the_pictures_proportions() -> None:
    heat = decoded(heat_uri(np.array([[0, 1], [0, 0.5]]), (200, 100)))
    assert heat.shape == (LONGEST_EDGE // 2, LONGEST_EDGE, 4)
    veil = heat[:, :, 3]
    assert veil[2, -3] < 60
    assert veil[2, 2] == veil[-3, 2] == veil.max() > 200
    assert veil[2, -3] + 60 < veil[-3, -3] < veil[2, 2] - 60
    assert decoded(heat_uri(np.ones((2, 2)), (1, 5000))).shape == (LONGEST_EDGE, 1, 4)


def test_css_is_whole_and_lays_the_map_over_the_picture(section: Maker) -> None:
    css = section([]).css()
    assert css.count("{") == css.count("}")
    assert ".sight .word input:checked ~ .heat { opacity: 1; }" in css
