"""ALBEF aligns image and text by contrast before cross-attention fuses them (arXiv 2107.07651, §3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmtk_blip.api import (
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    ImageEncoding,
    KeysValues,
    MedContext,
    TextEncoding,
    WordPrediction,
    initialise_as_bert,
    unit_features,
)
from torch import Tensor, nn

from mmtk.api import Batch, Momentum, StepState, Tokenizer
from mmtk_albef.text_transformer import AlbefBert


class AlbefTowers(nn.Module):
    """All that a momentum encoder copies: the towers, the fusion layers and the prediction of masked words.

    Its parameters are the model's own; a deep copy is the momentum model of ALBEF §3.3.
    """

    forward_methods = ("word_logits",)

    def __init__(
        self,
        image_encoder: nn.Module,
        image_projection: nn.Linear,
        text_transformer: AlbefBert,
        text_projection: nn.Linear,
        prediction: WordPrediction,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.image_projection = image_projection
        self.text_transformer = text_transformer
        self.text_projection = text_projection
        self.prediction = prediction
        self.embed_dim = image_projection.out_features

    def forward(self, images: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images ``(B, 3, H, W)``, ids and mask ``(T, L)`` to features and image tokens.

        Returns:
            Unit-norm features ``(B, E)`` and ``(T, E)``, and the image tokens ``(B, N, D)``.
        """
        embeds = self.image_encoder(images)
        image_features = unit_features(self.image_projection, embeds)
        states = self.text_transformer.encode(ids, mask)
        return image_features, unit_features(self.text_projection, states), embeds

    def word_logits(self, ids: Tensor, mask: Tensor, image: Sequence[KeysValues], chosen: Tensor) -> Tensor:
        """Predict the words at ``chosen`` places of texts that see their images.

        Args:
            ids: ``(B, L)`` int64, words masked.
            mask: ``(B, L)`` bool.
            image: per fusion layer keys and values with ``B`` rows.
            chosen: ``(B, L)`` bool with ``M`` true entries, at real tokens.

        Returns:
            ``(M, V)`` logits, in the order of ``ids[chosen]``.
        """
        transformer = self.text_transformer
        states = transformer.fuse(transformer.encode(ids, mask), mask, image)
        return self.prediction(states[chosen], transformer.embeddings.word.weight)


class Albef(nn.Module):
    """Image encoder, text and fusion layers, projections into a joint space, prediction of masked words.

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
        text_transformer: AlbefBert,
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
        self.prediction = WordPrediction(self.text_width, tokenizer.vocab_size)
        initialise_as_bert(self.prediction)
        self.temperature = nn.Parameter(torch.tensor(float(temperature)), requires_grad=learn_temperature)
        self.same_text_matches = same_text_matches

    def context(self, batch: Batch, state: StepState, momentum: Momentum | None = None) -> MedContext:
        """What the heads of one step read from."""
        return MedContext(self, batch, state, momentum)

    def before_step(self, state: StepState) -> None:  # noqa: ARG002
        """Keep the temperature within the public code's bounds."""
        with torch.no_grad():
            self.temperature.clamp_(LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE)

    def encode_images(self, images: Tensor) -> ImageEncoding:
        """Images ``(B, 3, H, W)`` to an encoding."""
        return ImageEncoding(self, self.image_encoder(images))

    def encode_texts(self, texts: Sequence[str]) -> TextEncoding:
        """Tokenize ``texts``; the text layers run when states or features are asked for."""
        ids, mask = self.tokenizer(texts)
        device = self.image_projection.weight.device
        return TextEncoding(self, ids.to(device), mask.to(device))

    def ground(self, images: ImageEncoding, texts: TextEncoding) -> Tensor:
        """States ``(T, L, D)`` of texts that see their images: the fusion layers on the text layers' states.

        ``images`` has as many rows as ``texts``, or a ``k``-th of them for ``k`` consecutive texts an image.
        """
        return self.text_transformer.fuse(texts.states, texts.mask, images.keys_values("encoder"))

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

    def feature_towers(self) -> AlbefTowers:
        """The part that a momentum encoder copies, sharing this model's parameters: all but temperature."""
        return AlbefTowers(
            self.image_encoder,
            self.image_projection,
            self.text_transformer,
            self.text_projection,
            self.prediction,
        )
