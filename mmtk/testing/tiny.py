"""Samples, batches and models small enough for a test: the same on every machine, without any file."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from mmtk.candidates import WEB, Candidate, ImageCandidates
from mmtk.data.images.transforms import BlipTest
from mmtk.data.pipeline import EvaluationData
from mmtk.data.texts import BlipCaption
from mmtk.engine.learner import Learner
from mmtk.kinds import ForwardContext, Momentum, Reader
from mmtk.plugins import load_plugins
from mmtk.recipe.build import ComponentBlueprint, blueprint, from_plain
from mmtk.registry import Registry
from mmtk.stages.context import StageContext
from mmtk.types import Batch, Quarantined, RawSample, StepState, stable_hash

IMAGE_SIZE = 32
WORDS = ("a", "the", "red", "blue", "small", "big", "cat", "dog", "owl", "tree", "house", "picture", "of")
TEXTS = ("a red cat", "the big blue dog", "a picture of a small owl", "the red house", "a tree", "blue owl")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class ListReader:
    """A reader of samples in memory."""

    quarantined: Sequence[Quarantined] = ()

    def __init__(self, samples: Iterable[RawSample]) -> None:
        self._samples = list(samples)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> RawSample:
        return self._samples[index]


def tiny_registry() -> Registry:
    """The components of everything installed, yours among them once ``pip install -e .`` has run."""
    return load_plugins().registry


def tiny_blueprint(kind: str, use: str, **keys: Any) -> ComponentBlueprint:
    """What builds a component as a recipe does, ``use`` and ``keys`` being what stands there.

    Raises:
        RecipeError: no installed plugin offers it, or it takes other keys.
    """
    registry = tiny_registry()
    node = from_plain(kind, {"use": use, **keys}, registry, f"tiny_blueprint('{kind}', '{use}')")
    return blueprint(node, registry, {})


def tiny_picture(number: int, size: tuple[int, int] = (40, 36)) -> bytes:
    """A PNG whose pixels depend on ``number`` alone; ``size`` is width and height."""
    noise = torch.randint(256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(number))
    buffer = io.BytesIO()
    Image.fromarray(noise.to(torch.uint8).numpy()).save(buffer, "png")
    return buffer.getvalue()


def tiny_sample(number: int, *texts: str) -> RawSample:
    """A pair of a picture and, unless some are given, one of ``TEXTS``."""
    given = texts or (TEXTS[number % len(TEXTS)],)
    return RawSample(f"sample{number}", tiny_picture(number), given, f"image{number}", WEB, "memory")


def tiny_reader(count: int = 6) -> Reader:
    """A reader of ``tiny_sample``s."""
    return ListReader(map(tiny_sample, range(count)))


def tiny_batch(count: int = 4, *, image_size: int = IMAGE_SIZE, seed: int = 0) -> Batch:
    """Pictures of noise with ``TEXTS``. From five pairs on, the last one shows the first one's image."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, image_size, image_size, generator=generator)
    ids = torch.arange(count) + 100 * seed
    if count > 4:
        ids[-1], images[-1] = ids[0], images[0]
    texts = tuple(TEXTS[place % len(TEXTS)] for place in range(count))
    return Batch(images, texts, ids, tuple(f"sample{place}" for place in range(count)))


def tiny_state(step: int = 3, *, seed: int = 0) -> StepState:
    """A step in the first epoch of ten steps, of a run of two."""
    return StepState(step=step, epoch=step / 10, total_steps=20, seed=seed)


def tiny_tokenizer_keys(folder: Path) -> dict[str, Any]:
    """The recipe node of a tokenizer that knows ``WORDS``; its vocabulary is written to ``folder``."""
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join((*_SPECIAL, *WORDS)) + "\n", encoding="utf-8")
    return {"use": "wordpiece", "vocab": str(vocabulary), "max_length": 16}


def tiny_model_keys(folder: Path, use: str = "med", **keys: Any) -> dict[str, Any]:
    """The recipe node of ``tiny_model``."""
    image_encoder = {"image_size": IMAGE_SIZE, "patch_size": 16, "width": 32, "depth": 1, "heads": 2}
    text_encoder = {"width": 32, "depth": 1, "heads": 2, "hidden_width": 64, "max_positions": 24}
    return {
        "use": use,
        "image_encoder": {"use": "timm_vit", **image_encoder},
        "text_encoder": {"use": "med_bert", **text_encoder},
        "tokenizer": tiny_tokenizer_keys(folder),
        "embed_dim": 16,
        **keys,
    }


def tiny_model(folder: Path, use: str = "med", **keys: Any) -> Any:
    """A model of one or two layers for pictures of ``IMAGE_SIZE``, in evaluation mode, always the same.

    Args:
        folder: where the vocabulary is written.
        use: a model that takes ``image_encoder``, ``text_encoder``, ``tokenizer`` and ``embed_dim``.
        keys: others of its keys, or other parts in the place of these.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return tiny_blueprint("model", **tiny_model_keys(folder, use, **keys)).build().eval()


def tiny_context(
    model: Any, batch: Batch | None = None, state: StepState | None = None, momentum: Momentum | None = None
) -> ForwardContext:
    """What a head reads from: a new one for each call, because it keeps what it has computed."""
    context: ForwardContext = model.context(batch or tiny_batch(), state or tiny_state(), momentum)
    return context


def tiny_learner(folder: Path, heads: Mapping[str, Mapping[str, Any]] | None = None) -> Learner:
    """A model with heads, by their recipe nodes; ``itc``, ``itm`` and ``lm`` unless others are given."""
    nodes = heads or {name: {"use": name} for name in ("itc", "itm", "lm")}
    model = tiny_model(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        built = {name: tiny_blueprint("head", **node).build(model=model) for name, node in nodes.items()}
    return Learner(model, built).eval()


def tiny_data(reader: Reader | None = None, *, batch_size: int = 3) -> EvaluationData:
    """Data as a metric iterates over it."""
    transform = BlipTest(size=IMAGE_SIZE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return EvaluationData.of(reader or tiny_reader(), transform, BlipCaption(), batch_size=batch_size)


def tiny_candidates(count: int = 5, texts: int = 2) -> list[ImageCandidates]:
    """Images with their web texts, cleaned, as a step of CapFilt's pass gets them."""
    generator = torch.Generator().manual_seed(0)
    images = []
    for number in range(count):
        own = [TEXTS[(number + place) % len(TEXTS)] for place in range(texts)]
        sample = tiny_sample(number, *own)
        picture = Image.open(io.BytesIO(sample.image)).convert("RGB")
        pixels = torch.randn(3, IMAGE_SIZE, IMAGE_SIZE, generator=generator)
        candidates = tuple(Candidate(text, WEB, cleaned=text) for text in own)
        images.append(
            ImageCandidates(sample, number, picture, pixels, stable_hash(0, sample.key), candidates)
        )
    return images


def tiny_stage_context(folder: Path, registry: Registry | None = None) -> StageContext:
    """What a stage is given; what it says is printed."""
    folder.mkdir(parents=True, exist_ok=True)
    return StageContext("stage", folder, 0, "cpu", registry or tiny_registry(), print)
