"""Answering questions about an image (BLIP §5.3): the decoder reads the question, grounded in it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmtk.api import DataError, Decoding, HeadOutput, Loss, SampleError
from mmtk_blip.attention import KeysValues
from mmtk_blip.context import MedContext
from mmtk_blip.encodings import ImageEncoding
from mmtk_blip.generation import beam_search, sample
from mmtk_blip.layers import WordPrediction, initialise_as_bert
from mmtk_blip.med import Med
from mmtk_blip.questions import parted
from mmtk_blip.step_decoder import CachedDecoder, step_weights
from mmtk_blip.text_transformer import first_token_replaced

ANSWER = Decoding(beams=3, min_length=1, max_length=10)  # as the public models/blip_vqa.py


class VqaHead(nn.Module):
    """Writes an answer from a question's states; its output weights are the word embeddings.

    Args:
        text_width: width of the text transformer.
        vocab_size: number of tokens.
        loss: of logits ``(M, V)`` and targets ``(M,)`` of the ``M`` tokens to predict.
        weight: factor on the loss.
    """

    def __init__(self, *, text_width: int, vocab_size: int, loss: Loss, weight: float = 1.0) -> None:
        super().__init__()
        self.prediction = WordPrediction(text_width, vocab_size)
        initialise_as_bert(self.prediction)
        self.loss = loss
        self.weight = weight

    def forward(self, context: MedContext) -> HeadOutput:
        """Loss of the answers' tokens, summed over an answer and averaged over the batch, as the public code.

        Raises SampleError when a text is no ``QUESTION? ANSWER``; ``vqa_pair`` sorts those out.
        """
        model, batch = context.model, context.batch
        pairs = [_parted(text, key) for text, key in zip(batch.texts, batch.keys, strict=True)]
        question, question_mask = self.question_keys_values(context.image, [one for one, _ in pairs])
        ids, mask = (one.to(question_mask.device) for one in model.tokenizer([one for _, one in pairs]))
        ids = first_token_replaced(ids, model.tokenizer.decode_id)
        states = model.text_transformer.decode(ids, question, mask=mask, image_mask=question_mask)
        predicted = mask[:, 1:]
        targets = ids[:, 1:][predicted]
        logits = self.logits(model, states[:, :-1][predicted])
        accuracy = (logits.detach().argmax(1) == targets).float().mean()
        tokens_per_answer = len(targets) / len(batch)
        return HeadOutput(
            self.weight * tokens_per_answer * self.loss(logits, targets), {"accuracy": accuracy}
        )

    def question_keys_values(
        self, images: ImageEncoding, questions: Sequence[str]
    ) -> tuple[list[KeysValues], Tensor]:
        """Ground one question per image; return what the decoder reads of it and its mask ``(B, L)``."""
        model = images.model
        device = images.embeds.device
        ids, mask = (one.to(device) for one in model.tokenizer(questions))
        ids = first_token_replaced(ids, model.tokenizer.encode_id)
        states = model.text_transformer.ground(ids, mask, images.keys_values("encoder"))
        return model.text_transformer.image_keys_values(states, "decoder"), mask

    def logits(self, model: Med, states: Tensor) -> Tensor:
        """Decoder states ``(…, D)`` to logits over the vocabulary ``(…, V)``."""
        return self.prediction(states, model.text_transformer.output_embeddings)

    @torch.no_grad()
    def answer(
        self,
        images: ImageEncoding,
        questions: Sequence[str],
        decoding: Decoding = ANSWER,
        generator: torch.Generator | None = None,
    ) -> list[str]:
        """Answer one question per image. ``decoding``'s lengths count [DEC]; its prompt is not used."""
        tokenizer = images.model.tokenizer
        weights = step_weights(images.model.text_transformer, self.prediction)
        question, mask = self.question_keys_values(images, questions)
        decoder = CachedDecoder(weights, question, decoding.max_length, mask)
        start = torch.full((len(images), 1), tokenizer.decode_id, device=images.embeds.device)
        if decoding.method == "beam" and decoding.beams > 1:
            written = beam_search(decoder, start, decoding, tokenizer.end_id)
        else:
            written = sample(decoder, start, decoding, tokenizer.end_id, generator)
        return [tokenizer.decode(ids) for ids in written]


def _parted(text: str, key: str) -> tuple[str, str]:
    try:
        return parted(text)
    except DataError as error:
        raise SampleError(
            f"{error}; text_transform: {{use: vqa_pair}} quarantines such texts", key, "vqa"
        ) from error
