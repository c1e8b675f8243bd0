"""``mmtk import`` and ``mmtk export`` from the shell, on files of transformers and of the public layout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import BlipConfig, BlipForConditionalGeneration, BlipForImageTextRetrieval
from transformers.models.blip.configuration_blip import BlipTextConfig, BlipVisionConfig

GOLDEN = Path(__file__).parent / "golden"
VOCABULARY = GOLDEN / "vocab.txt"
MMTK = Path(sys.executable).with_name("mmtk")


def mmtk(*arguments: object, expect: int = 0) -> str:
    """Run the command and return what it printed; of a mistake, the message."""
    result = subprocess.run(
        [MMTK, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == expect, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr if expect else result.stdout


def tiny_config() -> BlipConfig:
    text = BlipTextConfig(
        vocab_size=30524,
        hidden_size=32,
        encoder_hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        layer_norm_eps=1e-12,
        bos_token_id=30522,
        eos_token_id=102,
        sep_token_id=102,
        pad_token_id=0,
        initializer_range=0.2,
    )
    vision = BlipVisionConfig(
        hidden_size=48,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=3,
        image_size=32,
        patch_size=16,
        layer_norm_eps=1e-6,
        initializer_range=0.2,
    )
    return BlipConfig(
        text_config=text.to_dict(),
        vision_config=vision.to_dict(),
        projection_dim=16,
        image_text_hidden_size=16,
    )


@pytest.fixture(scope="module", params=[BlipForConditionalGeneration, BlipForImageTextRetrieval])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("hf") / request.param.__name__
    request.param(tiny_config()).save_pretrained(path)
    path.joinpath("vocab.txt").write_bytes(VOCABULARY.read_bytes())
    return path


def test_there_and_back(folder: Path, tmp_path: Path) -> None:
    printed = mmtk("import", folder, tmp_path / "ours")
    assert "left over: nothing" in printed
    assert "missing: " in printed
    mmtk("export", tmp_path / "ours", tmp_path / "theirs", "--format", "transformers")
    before, after = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "theirs"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    kind = BlipForConditionalGeneration if "Conditional" in folder.name else BlipForImageTextRetrieval
    again, report = kind.from_pretrained(tmp_path / "theirs", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert again.config.vision_config.image_size == 32


def test_the_public_layout_there_and_back(tmp_path: Path) -> None:
    public = load_file(GOLDEN / "blip_tiny.safetensors")
    words = public.pop("text_encoder_m.embeddings.word_embeddings.weight.rows", None)
    assert words is not None
    public = {name: one.float() if one.is_floating_point() else one for name, one in public.items()}
    torch.save({"model": public, "config": {"image_size": 64}}, tmp_path / "model.pth")
    heads = ("heads=4", "image_heads=4")
    printed = mmtk("import", tmp_path / "model.pth", tmp_path / "ours", f"vocab={VOCABULARY}", *heads)
    assert "missing: nothing" in printed
    assert "image_queue" in printed
    mmtk("export", tmp_path / "ours", tmp_path / "again.pth", "--format", "blip")
    again = torch.load(tmp_path / "again.pth", weights_only=True)["model"]
    mmtk(
        "import", tmp_path / "again.pth", tmp_path / "larger", "image_size=96", f"vocab={VOCABULARY}", *heads
    )
    weights = load_file(tmp_path / "larger" / "weights.safetensors")
    assert weights["model.image_encoder.vit.pos_embed"].shape == (1, 1 + 6 * 6, 64)
    online = {name for name in public if "_m." not in name and "queue" not in name}
    assert online <= set(again)
    assert all(torch.equal(public[name], again[name]) for name in online)


class Hostile:
    def __reduce__(self) -> tuple:
        return os.system, ("echo harm",)


def test_what_cannot_be_read_gets_one_message(tmp_path: Path) -> None:
    target = tmp_path / "ours"
    hostile = tmp_path / "hostile.pth"
    torch.save({"model": Hostile()}, hostile)
    message = mmtk("import", hostile, target, f"vocab={VOCABULARY}", expect=2)
    assert str(hostile) in message
    assert "code" in message
    broken = tmp_path / "broken.pth"
    torch.save({"model": {"temp": torch.zeros(1000)}}, broken)
    broken.write_bytes(broken.read_bytes()[:-600])
    assert str(broken) in mmtk("import", broken, target, f"vocab={VOCABULARY}", expect=2)
    other = tmp_path / "other.pth"
    torch.save({"model": {"fc.weight": torch.zeros(3, 3)}}, other)
    assert str(other) in mmtk("import", other, target, f"vocab={VOCABULARY}", expect=2)
    assert "did you mean 'image_size'" in mmtk("import", other, target, "image_sise=64", expect=2)
    assert not target.exists()


def test_keys_may_stand_behind_options(tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    torch.save({"model": {"fc.weight": torch.zeros(3, 3)}}, other)
    message = mmtk("import", other, tmp_path / "ours", "--format", "blip", f"vocab={VOCABULARY}", expect=2)
    assert "no BLIP checkpoint" in message
    message = mmtk("import", other, tmp_path / "ours", "--formt", "blip", "vocab=x", expect=2)
    assert "unknown arguments: --formt" in message


def test_a_target_below_a_file_gets_one_message(tmp_path: Path) -> None:
    run = tmp_path / "a-file"
    run.touch()
    message = mmtk("export", tmp_path, run / "below", "--format", "blip", expect=2)
    assert str(tmp_path) in message
