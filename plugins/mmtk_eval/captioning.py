"""Captions against references, with the scorers that published figures come from."""

from __future__ import annotations

import torch

from mmtk.api import CaptioningHead, Decoding, EvaluationData, Learner, StageContext, StageError, stable_hash
from mmtk_eval.scores import bleu4, cider
from mmtk_eval.wording import words


class Captioning:
    """BLEU-4 (0 to 1), CIDEr (papers print 100 times it) and the share of captions that equal a reference.

    Samples of one ``image_id`` are one image, captioned once; all their texts, uncleaned, are its references.
    """

    def __init__(self, *, decoding: Decoding) -> None:
        self._decoding = decoding

    @torch.inference_mode()
    def __call__(self, learner: Learner, data: EvaluationData, context: StageContext) -> dict[str, float]:
        """Return ``bleu4``, ``cider``, ``exact``, ``images`` scored and images ``without_reference``.

        Raises CheckpointError without a head that writes captions, StageError when there is nothing to score.
        """
        captions, references = self._caption(learner, data, context)
        scored = [image for image in captions if references[image]]
        if not scored:
            raise StageError("captioning: the dataset has no image with a reference that has a word")
        written = [words(captions[image]) for image in scored]
        wanted = [references[image] for image in scored]
        return {
            "bleu4": bleu4(written, wanted),
            "cider": cider(written, wanted),
            "exact": sum(text in own for text, own in zip(written, wanted, strict=True)) / len(scored),
            "images": len(scored),
            "without_reference": len(captions) - len(scored),
        }

    def _caption(
        self, learner: Learner, data: EvaluationData, context: StageContext
    ) -> tuple[dict[int, str], dict[int, list[str]]]:
        head = learner.head_with(CaptioningHead)
        captions: dict[int, str] = {}
        references: dict[int, list[str]] = {}
        for number, batch in enumerate(data):
            new: list[int] = []
            for row, (key, image_id) in enumerate(zip(batch.keys, batch.image_ids.tolist(), strict=True)):
                if image_id not in references:
                    references[image_id] = []
                    new.append(row)
                references[image_id] += filter(None, map(words, data.raw(key).texts))
            if not new:
                continue
            generator = torch.Generator().manual_seed(stable_hash(context.seed, "captioning", number))
            images = learner.model.encode_images(batch.images[new].to(context.device))
            texts = head.generate(images, self._decoding, generator)
            captions |= zip((int(batch.image_ids[row]) for row in new), texts, strict=True)
        return captions, references
