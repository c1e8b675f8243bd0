"""Images and texts as a model holds them; what is derived from them is computed once, when first asked for.

Their model has ``image_features``, ``text_features`` and a ``text_transformer`` that can ``encode`` texts and
make ``image_keys_values`` for each ``keys_values_side``, as ``Med`` and ``TextTransformer`` do.

Shapes: ``B`` images, ``N`` image tokens, ``T`` texts, ``L`` text tokens, ``D`` width, ``E`` joint embedding.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from torch import Tensor

from mmtk.api import section
from mmtk_blip.attention import KeysValues
from mmtk_blip.text_transformer import Side


class ImageEncoding:
    """Encoded images and the model that encoded them."""

    def __init__(self, model: Any, embeds: Tensor) -> None:
        self.model = model
        self.embeds = embeds  # (B, N, D)
        self._keys_values: dict[str, list[KeysValues]] = {}

    def __len__(self) -> int:
        return self.embeds.shape[0]

    @cached_property
    def features(self) -> Tensor:
        """``(B, E)``, unit norm."""
        return self.model.image_features(self.embeds)

    def keys_values(self, side: Side) -> list[KeysValues]:
        """Per layer, the keys and values that the cross-attention of ``side`` reads.

        Where both sides share their cross-attention, both get the same object.
        """
        side = self.model.text_transformer.keys_values_side(side)
        if side not in self._keys_values:
            self._keys_values[side] = self._compute_keys_values(side)
        return self._keys_values[side]

    def shared_keys_values(self, side: Side) -> tuple[list[KeysValues], Tensor | None]:
        """As ``keys_values``, but a selection gives all that it selects from, and which row each image has.

        That saves a copy per layer. Where it selects from so many that most would be idle, it does copy.
        """
        return self.keys_values(side), None

    def select(self, index: Tensor) -> ImageEncoding:
        """The images at ``index`` ``(T,)`` int64, with repetitions.

        What the selection is asked for is computed on this encoding and indexed, so it is computed once.
        """
        return SelectedImages(self, index)

    def _compute_keys_values(self, side: Side) -> list[KeysValues]:
        with section("forward/shared image keys and values"):
            return self.model.text_transformer.image_keys_values(self.embeds, side)


class SelectedImages(ImageEncoding):
    """Rows of another encoding."""

    def __init__(self, parent: ImageEncoding, index: Tensor) -> None:
        self.model = parent.model
        self._parent = parent
        self._index = index
        self._keys_values = {}

    def __len__(self) -> int:
        return len(self._index)

    @cached_property
    def embeds(self) -> Tensor:  # type: ignore[override]
        return self._parent.embeds.index_select(0, self._index)

    @cached_property
    def features(self) -> Tensor:
        return self._parent.features.index_select(0, self._index)

    def shared_keys_values(self, side: Side) -> tuple[list[KeysValues], Tensor | None]:
        layers, rows = self._parent.shared_keys_values(side)
        if len(layers[0].keys) > len(self):
            return self.keys_values(side), None
        return layers, self._index if rows is None else rows.index_select(0, self._index)

    def _compute_keys_values(self, side: Side) -> list[KeysValues]:
        return [layer.select(self._index) for layer in self._parent.keys_values(side)]


class TextEncoding:
    """Tokenized texts and the model that encodes them when their features are asked for."""

    def __init__(self, model: Any, ids: Tensor, mask: Tensor) -> None:
        self.model = model
        self.ids = ids  # (T, L) int64, starts with [CLS]
        self.mask = mask  # (T, L) bool

    def __len__(self) -> int:
        return self.ids.shape[0]

    @cached_property
    def states(self) -> Tensor:
        """``(T, L, D)``, by the text-only mode."""
        with section("forward/shared text encoder"):
            return self.model.text_transformer.encode(self.ids, self.mask)

    @cached_property
    def features(self) -> Tensor:
        """``(T, E)``, unit norm."""
        return self.model.text_features(self.states)

    def select(self, index: Tensor) -> TextEncoding:
        """The texts at ``index`` ``(R,)`` int64, with repetitions; see ``ImageEncoding.select``."""
        return SelectedTexts(self, index)


class SelectedTexts(TextEncoding):
    """Rows of another encoding."""

    def __init__(self, parent: TextEncoding, index: Tensor) -> None:
        super().__init__(parent.model, parent.ids.index_select(0, index), parent.mask.index_select(0, index))
        self._parent = parent
        self._index = index

    @cached_property
    def states(self) -> Tensor:
        return self._parent.states.index_select(0, self._index)

    @cached_property
    def features(self) -> Tensor:
        return self._parent.features.index_select(0, self._index)
