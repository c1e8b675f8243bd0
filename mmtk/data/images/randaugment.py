"""RandAugment with the ten operations and strengths of BLIP (its ``transform/randaugment.py``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PIL import Image, ImageEnhance, ImageOps

from mmtk.data.configs import RandAugment
from mmtk.data.images.draws import Draws
from mmtk.data.images.warp import rotation, shift, warp

MAX_MAGNITUDE = 10
Operation = Callable[[Image.Image, float, float], Image.Image]


def augment(image: Image.Image, config: RandAugment, draws: Draws) -> Image.Image:
    """Apply ``config.operations`` operations, drawn with replacement, each with ``config.probability``."""
    operations = list((CORRECTED if config.corrected else OPERATIONS).values())
    for _ in range(config.operations):
        operation = operations[draws.below(len(operations))]
        sign = 1.0 if draws.chance(0.5) else -1.0
        if draws.chance(config.probability):
            image = operation(image, config.magnitude / MAX_MAGNITUDE, sign)
    return image


def _plain(function: Callable[[Image.Image], Image.Image]) -> Operation:
    """An operation that has no strength."""
    return lambda image, _strength, _sign: function(image)


def _enhance(enhancer: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    def apply(image: Image.Image, strength: float, _sign: float) -> Image.Image:
        factor = 1.8 * strength + 0.1
        return image if factor == 1 else enhancer(image).enhance(factor)

    return apply


def _enhance_either_way(enhancer: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    return lambda image, strength, sign: enhancer(image).enhance(1 + sign * 0.9 * strength)


def _rotate(image: Image.Image, strength: float, sign: float) -> Image.Image:
    return warp(image, rotation(image.size, sign * 30 * strength))


def _shear_x(image: Image.Image, strength: float, sign: float) -> Image.Image:
    return warp(image, (1, sign * 0.3 * strength, 0, 0, 1, 0))


def _shear_y(image: Image.Image, strength: float, sign: float) -> Image.Image:
    return warp(image, (1, 0, 0, sign * 0.3 * strength, 1, 0))


def _translate_x(image: Image.Image, strength: float, sign: float) -> Image.Image:
    return shift(image, round(-sign * 10 * strength), 0)


def _translate_y(image: Image.Image, strength: float, sign: float) -> Image.Image:
    return shift(image, 0, round(-sign * 10 * strength))


OPERATIONS: Mapping[str, Operation] = {
    "identity": _plain(lambda image: image),
    "auto_contrast": _plain(ImageOps.autocontrast),
    "brightness": _enhance(ImageEnhance.Brightness),
    "sharpness": _enhance(ImageEnhance.Sharpness),
    "equalize": _plain(ImageOps.equalize),
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
}

# BLIP's factor for an enhancement, 0.1 + 0.18 * magnitude, is exactly 1 at its own magnitude 5. torchvision's
# RandAugment goes as far from 1 as the magnitude says, in either direction.
CORRECTED: Mapping[str, Operation] = {
    **OPERATIONS,
    "brightness": _enhance_either_way(ImageEnhance.Brightness),
    "sharpness": _enhance_either_way(ImageEnhance.Sharpness),
}
