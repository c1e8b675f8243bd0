from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from mmtk_capfilt.steps.configs import LanguageFilterConfig
from mmtk_capfilt.steps.language import LanguageFilter
from PIL import Image

from mmtk.candidates import HUMAN, SYNTHETIC, WEB, Candidate, ImageCandidates
from mmtk.errors import RecipeError, StageError
from mmtk.plugins import load_plugins
from mmtk.recipe.build import blueprint, from_plain
from tests.small_learner import sample

ENGLISH = [
    "A man riding a wave on top of a surfboard",
    "red brick house with white windows",
    "How to draw a horse, step by step",
    "stock photo of a happy family at home",
    "sunset over the sea",
]
OTHERS = {
    "de": "ein Mann reitet auf einer Welle",
    "fr": "Coucher de soleil sur la mer",
    "es": "casa de ladrillo rojo",
    "it": "tramonto sul mare",
    "ja": "海に沈む夕日",
    "zh": "红砖房子",
}


def built(**keys: Any) -> Any:
    registry = load_plugins().registry
    node = from_plain("capfilt_step", {"use": "language_filter", **keys}, registry)
    return blueprint(node, registry, {}).build()


def image(texts: Sequence[str], source: str = WEB) -> ImageCandidates:
    candidates = tuple(Candidate(text, source, text.lower()) for text in texts)
    return ImageCandidates(sample(0), 0, Image.new("RGB", (8, 8)), torch.zeros(3, 8, 8), 0, candidates)


def barred(step: Any, texts: Sequence[str], source: str = WEB) -> dict[str, str]:
    (done,) = step([image(texts, source)])
    return {one.text: one.barred for one in done.candidates if one.barred}


@pytest.mark.skipif(find_spec("py3langid") is None, reason="py3langid, of mmtk[language], isn't installed")
class TestWithTheLibrary:
    def test_texts_in_other_languages_are_barred_with_a_reason(self) -> None:
        found = barred(built(languages=["en"]), [*ENGLISH, *OTHERS.values()])
        assert list(found) == list(OTHERS.values())
        for language in ("de", "ja"):
            assert found[OTHERS[language]].startswith(f"language: {language}, and en with a probability of ")

    def test_several_languages_can_be_kept(self) -> None:
        found = barred(built(languages=["de", "fr"]), [*ENGLISH, *OTHERS.values()])
        assert set(found) == {*ENGLISH, *OTHERS.values()} - {OTHERS["de"], OTHERS["fr"]}

    def test_a_language_outside_the_usual_ones_can_be_kept(self) -> None:
        swahili = "watu wawili wanacheza mpira wa miguu uwanjani"
        assert barred(built(languages=["en"]), [swahili])
        assert not barred(built(languages=["sw"]), [swahili])

    def test_a_threshold_of_zero_bars_nothing_and_one_of_one_nearly_all(self) -> None:
        assert not barred(built(languages=["en"], threshold=0), list(OTHERS.values()))
        assert barred(built(languages=["en"], threshold=1), ["vintage wooden chair"])

    def test_texts_without_a_trace_of_a_language_stay(self) -> None:
        assert not barred(built(languages=["en"]), ["42", "…", "IMG_2034"])

    def test_synthetic_texts_are_judged_and_human_ones_are_not(self) -> None:
        step = built(languages=["en"])
        assert barred(step, [OTHERS["de"]], SYNTHETIC)
        assert not barred(step, [OTHERS["de"]], HUMAN)

    def test_what_is_barred_already_keeps_its_reason(self) -> None:
        given = image([OTHERS["de"]]).barring(lambda _: "before")
        assert built(languages=["en"])([given])[0].candidates[0].barred == "before"

    def test_batches_make_no_difference(self) -> None:
        step, images = built(languages=["en"]), [image([text]) for text in (*ENGLISH, *OTHERS.values())]
        assert step(images) == [one for each in images for one in step([each])]

    def test_a_code_that_is_none_is_told_with_what_it_may_be(self) -> None:
        with pytest.raises(RecipeError, match=r"unknown language 'eng'; did you mean 'en'\?"):
            built(languages=["eng"])
        with pytest.raises(RecipeError, match=r"unknown language 'klingon'; there are: .*de, "):
            built(languages=["en"], among=["de", "klingon"])


def test_without_the_library_one_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("py3langid", "py3langid.langid"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RecipeError, match=r"needs .* pip install 'mmtk\[language\]' \(language_filter, from"):
        built(languages=["en"])
    with pytest.raises(StageError, match=r"language_filter needs .* pip install 'mmtk\[language\]'"):
        LanguageFilter(languages=["en"], among=[], threshold=0.1)


def test_no_language_at_all_is_refused() -> None:
    assert next(LanguageFilterConfig(languages=()).check())[0] == "languages"
