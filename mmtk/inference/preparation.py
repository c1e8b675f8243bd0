"""What a model's pictures and texts go through before it sees them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtk.data.images.transforms import BlipTest
from mmtk.data.texts import BlipCaption
from mmtk.engine.checkpoint import load_transforms
from mmtk.errors import CheckpointError
from mmtk.kinds import TextTransform
from mmtk.recipe.build import blueprint

if TYPE_CHECKING:
    from mmtk.registry import Registry


@dataclass(frozen=True)
class Preparation:
    """From files and raw texts to what the model reads.

    Attributes:
        image: a square resize.
        text: cleaning, as in training.
        prompt: words that training put before every caption.
    """

    image: BlipTest
    text: TextTransform
    prompt: str


def preparation_of(
    checkpoint: Path, registry: Registry, model: Any, image_size: int | None = None
) -> Preparation:
    """Prepare as the checkpoint's training did, but with BLIP's test transform: no crop, nothing random.

    Texts are cleaned by training's own transform; of its image transform the keys ``size``, ``mean`` and
    ``std`` are taken over. A checkpoint that doesn't hold them, an imported one, is taken for BLIP's.

    Args:
        image_size: edge of the pictures in pixels; None takes training's, or the image encoder's.

    Raises:
        CheckpointError: the size can't be told, or a transform is not installed.
    """
    transforms = load_transforms(checkpoint, registry)
    keys = {} if transforms is None else transforms.image.keys
    encoder = getattr(model, "image_encoder", None)
    size = image_size or keys.get("size") or getattr(encoder, "image_size", None)
    if size is None:
        raise CheckpointError(
            f"{checkpoint}: the checkpoint doesn't say which picture size the model was trained on, "
            "and the model takes any; give it with --image-size (image_size= in Python)"
        )
    image = BlipTest(size, **{key: keys[key] for key in ("mean", "std") if key in keys})
    if transforms is None:
        return Preparation(image, BlipCaption(), "")
    text = blueprint(transforms.text, registry, {}).build()
    return Preparation(image, text, str(transforms.text.keys.get("prompt") or ""))
