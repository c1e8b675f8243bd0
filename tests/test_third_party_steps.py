"""Two CapFilt steps from outside, installed by pip, in a pass with real, tiny, untrained models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mmtk_capfilt.ledger import read_ledger
from tokenizers import Tokenizer, models, pre_tokenizers

from mmtk.candidates import WEB, Candidate, ImageCandidates
from mmtk.data.images.decode import decode_image
from mmtk.data.shards import ShardWriter
from mmtk.errors import CheckpointError
from tests.small_learner import picture, sample
from tests.third_party import PACKAGES, imported_from_mmtk, install, mmtk

CLIP, CAPTIONER = PACKAGES / "mmtk_clip_score", PACKAGES / "mmtk_hf_captioner"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "blue", "cat", "dog", "of", "on", "grass", "sky"]
PAD, START, END = 0, 2, 3
NEEDS_OPEN_CLIP = pytest.mark.skipif(
    find_spec("open_clip") is None, reason="open_clip_torch isn't installed; it is in mmtk[dev]"
)


@pytest.fixture(scope="module")
def clip_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("clip"), CLIP)


@pytest.fixture(scope="module")
def captioner_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("captioner"), CAPTIONER)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "web"
    with ShardWriter(folder, "web") as shards:
        for number in range(5):
            shards.write(sample(number, f"A red cat, {number}!"))
    return folder


def images(*texts: Sequence[str]) -> list[ImageCandidates]:
    return [
        ImageCandidates(
            sample(number),
            number,
            decode_image(picture(number)),
            torch.zeros(3, 8, 8),
            number,
            tuple(Candidate(text, WEB, text) for text in own),
        )
        for number, own in enumerate(texts)
    ]


def run(folder: Path, site: Path, web: Path, *steps: Mapping[str, Any]) -> Path:
    """Run a pass on the command line; return the stage's folder."""
    data = {
        "reader": {"use": "webdataset", "path": str(web)},
        "image_transform": {"use": "blip_test", "size": 8},
        "batch_size": 2,
    }
    stage = {"use": "capfilt", "data": data, "steps": list(steps), "part_size": 3}
    recipe = {"name": "steps", "seed": 1, "device": "cpu", "run_dir": "run", "stages": {"capfilt": stage}}
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    ran = mmtk("run", "recipe.yaml", site=site, cwd=folder)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    return folder / "run" / "capfilt"


@pytest.mark.parametrize("source", [CLIP, CAPTIONER], ids=lambda source: source.name)
def test_they_use_the_public_api_alone(source: Path) -> None:
    assert imported_from_mmtk(source) - {source.name} == {"mmtk.api"}


@pytest.fixture(scope="module")
def clip_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as open_clip writes it for a model hub, with random weights."""
    import open_clip
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("open_clip")
    config = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    torch.manual_seed(0)
    network = open_clip.CLIP(**config)
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    plain = json.dumps({"model_cfg": config, "preprocess_cfg": {"size": 16}})
    (folder / "open_clip_config.json").write_text(plain, encoding="utf-8")
    return folder


@NEEDS_OPEN_CLIP
class TestClipScore:
    @pytest.fixture
    def step(self, clip_model: Path, clip_site: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.syspath_prepend(str(clip_site))
        from mmtk_clip_score.step import ClipScore

        return ClipScore(folder=clip_model, threshold=0.25, device="cpu")

    def test_it_scores_each_text_against_its_image(self, step: Any, clip_model: Path) -> None:
        import open_clip

        given = images(["a red cat", "a dog", "the sky"], [], ["grass"])
        given[0] = given[0].barring(lambda one: "no" if one.text == "a dog" else None)
        done = step(given)
        network, transform = open_clip.create_model_from_pretrained(f"local-dir:{clip_model}")
        network.eval()
        tokenizer = open_clip.get_tokenizer(f"local-dir:{clip_model}")
        for image in done:
            for one in image.open:
                with torch.inference_mode():
                    seen = network.encode_image(transform(image.picture)[None])[0]
                    read = network.encode_text(tokenizer([one.cleaned]))[0]
                expected = torch.cosine_similarity(seen, read, dim=0).item()
                assert one.scores["clip_score"] == pytest.approx(expected, abs=1e-5)
        assert [len(image.open) for image in done] == [2, 0, 1]
        assert not done[0].candidates[1].scores

    def test_images_without_an_open_text_need_no_model(self, step: Any, tmp_path: Path) -> None:
        step._folder = tmp_path
        given = images([])
        assert step(given) == given

    def test_a_folder_without_a_model_is_told(self, step: Any, tmp_path: Path) -> None:
        step._folder = tmp_path
        with pytest.raises(CheckpointError, match=r"open_clip can't open it: .*open_clip_config\.json"):
            step(images(["a cat"]))

    def test_a_pass_filters_by_it(
        self, step: Any, tmp_path: Path, clip_site: Path, web: Path, clip_model: Path
    ) -> None:
        done = step(images(*([f"a red cat, {number}"] for number in range(5))))
        scores = {image.key: image.candidates[0].scores["clip_score"] for image in done}
        _, below, above, *_ = sorted(scores.values())
        assert above - below > 1e-4
        keys = {"use": "clip_score", "folder": str(clip_model), "threshold": (below + above) / 2}
        rows = read_ledger(run(tmp_path, clip_site, web, keys) / "ledger.parquet").to_pylist()
        assert {row["key"]: row["clip_score"] for row in rows} == pytest.approx(scores, abs=1e-5)
        kept = {row["key"] for row in rows if row["decision"] == "kept"}
        assert kept == {key for key, score in scores.items() if score >= above}
        assert {row["scored_by"] for row in rows} == {f"clip_score:{step.fingerprint}"}


def save_tokenizer(folder: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)


SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def save_blip(folder: Path) -> None:
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessor

    special = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END, "sep_token_id": END}
    text = SMALL | special | {"vocab_size": len(WORDS), "encoder_hidden_size": 16}
    vision = SMALL | {"image_size": 32, "patch_size": 16, "initializer_range": 0.02}
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=16)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    BlipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


def save_encoder_decoder(folder: Path) -> None:
    from transformers import (
        BertConfig,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
        ViTConfig,
        ViTImageProcessor,
    )

    vision = ViTConfig(**SMALL, image_size=32, patch_size=16)
    text = BertConfig(**SMALL, vocab_size=len(WORDS), is_decoder=True, add_cross_attention=True)
    model = VisionEncoderDecoderModel(VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, text))
    how = model.generation_config
    how.decoder_start_token_id, how.pad_token_id, how.eos_token_id = START, PAD, END
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


@pytest.fixture(scope="module", params=[save_blip, save_encoder_decoder], ids=["blip", "encoder-decoder"])
def captioner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transformers")
    torch.manual_seed(0)
    request.param(folder)
    save_tokenizer(folder)
    return folder


class TestHfCaptioner:
    @pytest.fixture(autouse=True)
    def on_path(self, captioner_site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(captioner_site))

    def step(self, folder: Path, **keys: Any) -> Any:
        from mmtk_hf_captioner.step import HfCaptioner

        defaults = {"captions": 1, "top_p": 0.9, "beams": None, "max_tokens": 6, "device": "cpu"}
        return HfCaptioner(folder=folder, **(defaults | keys))

    def texts(self, done: Sequence[ImageCandidates]) -> list[list[str]]:
        return [[one.text for one in image.candidates] for image in done]

    def test_it_adds_captions_of_its_words(self, captioner: Path) -> None:
        step = self.step(captioner, captions=3)
        done = step(images(["a cat"], []))
        assert [[one.source for one in image.candidates] for image in done] == [
            ["web", *["synthetic"] * 3],
            ["synthetic"] * 3,
        ]
        written = [one for image in done for one in image.candidates if one.source == "synthetic"]
        assert {one.written_by for one in written} == {step.fingerprint}
        assert {word for one in written for word in one.text.split()} <= set(WORDS[4:])
        assert max(len(one.text.split()) for one in written) <= 6
        assert len({one.text for one in written}) > 2

    def test_what_is_drawn_depends_on_the_images_alone(self, captioner: Path) -> None:
        step, given = self.step(captioner, captions=2), images([], [])
        torch.manual_seed(1)
        first = self.texts(step(given))
        torch.manual_seed(2)
        assert self.texts(self.step(captioner, captions=2)(given)) == first
        assert self.texts(step(images([], [], [])[1:])) != first

    def test_a_search_draws_nothing(self, captioner: Path) -> None:
        step, given = self.step(captioner, beams=2), images([], [])
        other = [replace(one, seed=one.seed + 7) for one in given]
        assert self.texts(step(given)) == self.texts(step(other))

    def test_a_folder_without_a_model_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="transformers can't open it"):
            self.step(tmp_path)(images([]))

    def test_several_captions_of_a_search_are_refused(self) -> None:
        from mmtk_hf_captioner.configs import HfCaptionerConfig

        config = HfCaptionerConfig(folder=Path("model"), captions=2, beams=3)
        assert [name for name, _ in config.check()] == ["captions"]


def test_a_pass_writes_captions_of_a_model_of_transformers(
    tmp_path: Path, captioner_site: Path, web: Path
) -> None:
    torch.manual_seed(0)
    save_blip(tmp_path / "model")
    save_tokenizer(tmp_path / "model")
    step = {"use": "hf_captioner", "folder": str(tmp_path / "model"), "captions": 2, "max_tokens": 8}
    done = run(tmp_path, captioner_site, web, step)
    rows = read_ledger(done / "ledger.parquet").to_pylist()
    synthetic = [row for row in rows if row["source"] == "synthetic"]
    assert len(synthetic) == 2 * 5
    assert len({row["written_by"] for row in synthetic}) == 1
    counts = json.loads((done / "funnel.json").read_text(encoding="utf-8"))
    assert counts["kept_web"] == 5
    assert counts["written"] == 5 + counts["kept_synthetic"] > 5
