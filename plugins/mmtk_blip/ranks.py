"""The batches of all ranks side by side, this rank's own pairs first.

Shapes: ``B`` pairs of this rank, ``W`` pairs of all ranks, ``L`` text tokens, ``E`` joint embedding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mmtk.api import Batch, gather, gather_own_first, gather_with_grad, own_first, row_counts
from mmtk_blip.encodings import ImageEncoding, TextEncoding


class AllRanks:
    """What ITM needs of every rank's pairs. All ranks must make it, and make the same calls on it.

    Its columns are ordered from this rank on, so that the pair of row ``i`` stands in column ``i``.

    Attributes:
        image_features: ``(W, E)``, unit norm, without gradient.
        text_features: ``(W, E)``, likewise.
    """

    def __init__(self, image: ImageEncoding, text: TextEncoding, batch: Batch) -> None:
        self._image, self._text = image, text
        counts = row_counts(batch.image_ids)
        self.image_features = gather_own_first(image.features, counts)
        self.text_features = gather_own_first(text.features, counts)
        self._image_ids = gather_own_first(batch.image_ids, counts)
        self._text_ids = gather_own_first(batch.text_ids, counts)
        # Texts are padded to the longest of their batch: here to that of all batches.
        longest = int(gather(torch.tensor([text.ids.shape[1]], device=text.ids.device)).max())
        missing = longest - text.ids.shape[1]
        padded = F.pad(text.ids, (0, missing), value=text.model.tokenizer.pad_id)
        self._ids = gather_own_first(padded, counts)
        self._mask = gather_own_first(F.pad(text.mask, (0, missing)), counts)
        self._embeds = own_first(gather_with_grad(image.embeds, counts), counts)

    def matching(self, batch: Batch, *, same_text: bool) -> Tensor:
        """``(B, W)`` bool: which columns show the row's image or, with ``same_text``, have its text."""
        matching = batch.image_ids[:, None] == self._image_ids
        return matching | (batch.text_ids[:, None] == self._text_ids) if same_text else matching

    def images(self, index: Tensor) -> ImageEncoding:
        """The images of the columns ``index`` ``(T,)`` int64."""
        return ImageEncoding(self._image.model, self._embeds.index_select(0, index))

    def texts(self, index: Tensor) -> TextEncoding:
        """The texts of the columns ``index`` ``(T,)`` int64."""
        ids, mask = self._ids.index_select(0, index), self._mask.index_select(0, index)
        return TextEncoding(self._text.model, ids, mask)
