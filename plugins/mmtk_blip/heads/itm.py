"""Image-text matching with hard negatives (ALBEF §3.2, BLIP §3.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mmtk.api import HeadOutput, Loss, NegativeSampler, TextMaps, WordMap
from mmtk_blip.context import MedContext, similarity_logits
from mmtk_blip.encodings import ImageEncoding, TextEncoding
from mmtk_blip.gradcam import check_model, layer_to_look_at, relevance
from mmtk_blip.ranks import AllRanks

# Entropy of one matching pair to two that don't match: the loss of an answer that ignores its input.
PRIOR_ENTROPY = math.log(3) - 2 / 3 * math.log(2)


class ItmHead(nn.Module):
    """Two-way classifier on the first token of texts that see their images; its model can ``ground`` them.

    Args:
        text_width: width of the text transformer.
        loss: of logits ``(3B, 2)`` and classes ``(3B,)``.
        negatives: draws one negative image for each text and one negative text for each image.
        negatives_from: whether they come from the rank's own batch or from those of all ranks.
        weight: factor on the loss.

    Attributes:
        chance_loss: what a head stuck at the prior loses with ``cross_entropy``.
    """

    def __init__(
        self,
        *,
        text_width: int,
        loss: Loss,
        negatives: NegativeSampler,
        negatives_from: Literal["rank", "all_ranks"] = "rank",
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.classifier = nn.Linear(text_width, 2)
        self.loss = loss
        self.negatives = negatives
        self.negatives_from = negatives_from
        self.weight = weight
        self.chance_loss = weight * PRIOR_ENTROPY

    def forward(self, context: MedContext) -> HeadOutput:
        """Loss over the pairs, each text with its negative image, each image with its negative text."""
        count = len(context.batch)
        of_rank = self.negatives_from == "rank"
        logits = self._within_batch(context) if of_rank else self._across_ranks(context)
        classes = torch.zeros(3 * count, dtype=torch.long, device=logits.device)
        classes[:count] = 1
        accuracy = (logits.detach().argmax(1) == classes).float().mean()
        return HeadOutput(self.weight * self.loss(logits, classes), {"accuracy": accuracy})

    def _within_batch(self, context: MedContext) -> Tensor:
        """``(3B, 2)`` logits: the pairs, the texts with negative images, the images with negative texts."""
        similarities, count = context.similarities, len(context.batch)
        drawn = self.negatives(
            similarities.text_to_image[:, :count].detach(),
            similarities.image_to_text[:, :count].detach(),
            similarities.matching[:, :count],
            context.state.generator("itm/negatives"),
        )
        own = torch.arange(count, device=context.batch.image_ids.device)
        images = context.image.select(torch.cat((own, drawn.image_for_text, own)))
        texts = context.text.select(torch.cat((own, own, drawn.text_for_image)))
        return self.match_logits(images, texts)

    def _across_ranks(self, context: MedContext) -> Tensor:
        """As ``_within_batch``, but images with negative texts come before texts with negative images.

        Similarities are those of the online features of all ranks, as in BLIP's fine-tuning for retrieval.
        Gradients reach a negative image on the rank that it comes from.
        """
        model, count = context.model, len(context.batch)
        temperature = model.temperature.detach()
        pairs = AllRanks(context.image, context.text, context.batch)
        drawn = self.negatives(
            similarity_logits(context.text.features.detach(), pairs.image_features, temperature),
            similarity_logits(context.image.features.detach(), pairs.text_features, temperature),
            pairs.matching(context.batch, same_text=model.same_text_matches),
            context.state.generator("itm/negatives"),
        )
        own = torch.arange(count, device=context.batch.image_ids.device)
        with_own_images = self.match_logits(
            context.image.select(torch.cat((own, own))), pairs.texts(torch.cat((own, drawn.text_for_image)))
        )
        with_other_images = self.match_logits(pairs.images(drawn.image_for_text), pairs.texts(own))
        return torch.cat((with_own_images, with_other_images))

    def match_logits(self, images: ImageEncoding, texts: TextEncoding) -> Tensor:
        """``(T, 2)`` logits of [no match, match], pair by pair.

        ``images`` has as many rows as ``texts``, or a ``k``-th of them: each image then serves ``k``
        consecutive texts.
        """
        return self.classifier(texts.model.ground(images, texts)[:, 0])

    def word_maps(
        self, model: Any, images: Tensor, texts: Sequence[str], layer: int | None = None
    ) -> list[TextMaps]:
        """Where in its picture the match sees each word; see ``mmtk.kinds.WordMappingHead``.

        Args:
            layer: of the cross-attention layers, counted from 0; None is two thirds up, 7 of 12.
        """
        check_model(model)
        blocks = model.text_transformer.cross_attention
        block = blocks[layer_to_look_at(len(blocks), layer)]
        with torch.inference_mode(False), torch.no_grad():
            embeds = model.image_encoder(images)
            grid = model.image_encoder.grid(images)
        logits, weights = relevance(
            block, lambda: self.match_logits(ImageEncoding(model, embeds), model.encode_texts(texts))
        )
        maps = weights[:, :, 1:].unflatten(-1, grid)
        return [
            TextMaps(
                of_text,
                tuple(WordMap(word, own[places].mean(0)) for word, places in model.tokenizer.words(text)),
            )
            for text, of_text, own in zip(texts, logits, maps, strict=True)
        ]
