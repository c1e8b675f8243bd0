"""MED, BLIP's multimodal mixture of encoder and decoder (BLIP §3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mmtk.api import Batch, Momentum, StepState, Tokenizer
from mmtk_blip.context import MedContext
from mmtk_blip.encodings import ImageEncoding, TextEncoding
from mmtk_blip.text_transformer import TextEncoder, TextTransformer, first_token_replaced

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.001, 0.5


class FeatureTowers(nn.Module):
    """The two towers whose features ITC compares: no cross-attention, nothing of the decoder.

    Its parameters are the model's own; a deep copy is a lean twin for a momentum encoder.
    """

    def __init__(
        self,
        image_encoder: nn.Module,
        image_projection: nn.Linear,
        text_encoder: TextEncoder,
        text_projection: nn.Linear,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.image_projection = image_projection
        self.text_encoder = text_encoder
        self.text_projection = text_projection
        self.embed_dim = image_projection.out_features

    def forward(self, images: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Images ``(B, 3, H, W)``, ids and mask ``(T, L)`` to unit-norm ``(B, E)`` and ``(T, E)``."""
        return (
            unit_features(self.image_projection, self.image_encoder(images)),
            unit_features(self.text_projection, self.text_encoder(ids, mask)),
        )


class Med(nn.Module):
    """Image encoder, text transformer in three modes, and the projections into a joint space.

    Args:
        image_encoder: images to tokens of ``image_encoder.width``; a module.
        text_transformer: its vocabulary is ``tokenizer``'s, its image width the image encoder's.
        tokenizer: texts to ids.
        embed_dim: ``E``, width of the joint space.
        temperature: divides similarities; kept within [0.001, 0.5] before each step.
        learn_temperature: whether the temperature is a parameter or stays as it is.
        same_text_matches: whether pairs of one text belong together as pairs of one image do.
    """

    def __init__(
        self,
        *,
        image_encoder: nn.Module,
        text_transformer: TextTransformer,
        tokenizer: Tokenizer,
        embed_dim: int = 256,
        temperature: float = 0.07,
        learn_temperature: bool = True,
        same_text_matches: bool = False,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.text_transformer = text_transformer
        self.tokenizer = tokenizer
        self.image_width: int = image_encoder.width  # type: ignore[assignment]
        self.text_width = text_transformer.width
        self.image_projection = nn.Linear(self.image_width, embed_dim)
        self.text_projection = nn.Linear(self.text_width, embed_dim)
        self.temperature = nn.Parameter(torch.tensor(float(temperature)), requires_grad=learn_temperature)
        self.same_text_matches = same_text_matches

    def context(self, batch: Batch, state: StepState, momentum: Momentum | None = None) -> MedContext:
        """What the heads of one step read from."""
        return MedContext(self, batch, state, momentum)

    def before_step(self, state: StepState) -> None:  # noqa: ARG002
        """Keep the temperature within BLIP's bounds."""
        with torch.no_grad():
            self.temperature.clamp_(LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE)

    def encode_images(self, images: Tensor) -> ImageEncoding:
        """Images ``(B, 3, H, W)`` to an encoding."""
        return ImageEncoding(self, self.image_encoder(images))

    def encode_texts(self, texts: Sequence[str]) -> TextEncoding:
        """Tokenize ``texts``; the text encoder runs when features are asked for."""
        ids, mask = self.tokenizer(texts)
        device = self.image_projection.weight.device
        return TextEncoding(self, ids.to(device), mask.to(device))

    def ground(self, images: ImageEncoding, texts: TextEncoding) -> Tensor:
        """States ``(T, L, D)`` of texts that see their images, by the image-grounded encoder ([ENC] first).

        ``images`` has as many rows as ``texts``, or a ``k``-th of them for ``k`` consecutive texts an image.
        """
        ids = first_token_replaced(texts.ids, self.tokenizer.encode_id)
        keys_values, image_of = images.shared_keys_values("encoder")
        if image_of is not None:
            image_of = image_of.repeat_interleave(len(texts) // len(images))
        return self.text_transformer.ground(ids, texts.mask, keys_values, image_of)

    def image_features(self, embeds: Tensor) -> Tensor:
        """Image tokens ``(B, N, D)`` to unit-norm features ``(B, E)`` of the first token."""
        return unit_features(self.image_projection, embeds)

    def text_features(self, states: Tensor) -> Tensor:
        """Text states ``(T, L, D)`` to unit-norm features ``(T, E)`` of the first token."""
        return unit_features(self.text_projection, states)

    def stacked_layers(self) -> list[nn.Module]:
        """The layers of the image encoder, where it names them, and of the text transformer."""
        encoder: Any = self.image_encoder
        images = encoder.stacked_layers() if hasattr(encoder, "stacked_layers") else []
        return [*images, *self.text_transformer.stacked_layers()]

    def feature_towers(self) -> FeatureTowers:
        """The part that ITC compares, sharing this model's parameters."""
        return FeatureTowers(
            self.image_encoder,
            self.image_projection,
            self.text_transformer.text_encoder(),
            self.text_projection,
        )


def unit_features(projection: nn.Module, states: Tensor) -> Tensor:
    """States ``(R, L, D)`` to projections of their first tokens, of unit norm: ``(R, E)`` float32."""
    return F.normalize(projection(states[:, 0]).float(), dim=-1)
