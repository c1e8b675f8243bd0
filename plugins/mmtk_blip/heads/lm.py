"""Language modelling: the head that learns to caption and writes captions (BLIP §3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmtk.api import Decoding, HeadOutput, Loss, RecipeError
from mmtk_blip.context import MedContext
from mmtk_blip.encodings import ImageEncoding
from mmtk_blip.generation import beam_search, sample
from mmtk_blip.layers import WordPrediction, initialise_as_bert
from mmtk_blip.med import Med
from mmtk_blip.step_decoder import CachedDecoder, step_weights
from mmtk_blip.text_transformer import first_token_replaced


class LmHead(nn.Module):
    """Next-word prediction by the image-grounded decoder; its output weights are the word embeddings.

    Args:
        text_width: width of the text transformer.
        vocab_size: number of tokens.
        loss: of logits ``(M, V)`` and targets ``(M,)`` of the ``M`` tokens to predict.
        prompt_ids: tokens of a prompt; a text that starts with them is not trained to predict them.
        weight: factor on the loss.
    """

    def __init__(
        self,
        *,
        text_width: int,
        vocab_size: int,
        loss: Loss,
        prompt_ids: Sequence[int] = (),
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.prediction = WordPrediction(text_width, vocab_size)
        initialise_as_bert(self.prediction)
        self.loss = loss
        self.prompt_ids = tuple(prompt_ids)
        self.weight = weight

    def forward(self, context: MedContext) -> HeadOutput:
        """Mean loss over the tokens after [DEC], padding and prompt left out."""
        model = context.model
        ids = first_token_replaced(context.text.ids, model.tokenizer.decode_id)
        mask, image = context.text.mask, context.image.keys_values("decoder")
        states = model.text_transformer.decode(ids, image, mask=mask)
        predicted = self.predicted(ids, mask)
        targets = ids[:, 1:][predicted]
        logits = self.logits(model, states[:, :-1][predicted])
        accuracy = (logits.detach().argmax(1) == targets).float().mean()
        return HeadOutput(self.weight * self.loss(logits, targets), {"accuracy": accuracy})

    def terms(self, context: MedContext) -> int:
        """How many tokens the loss is the mean over."""
        return int(self.predicted(context.text.ids, context.text.mask).sum())

    def predicted(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Which of the tokens after the first count: ``(B, L)`` ids and mask to ``(B, L - 1)`` bool."""
        counted = mask[:, 1:].clone()
        length = len(self.prompt_ids)
        if 0 < length < ids.shape[1]:
            prompt = torch.tensor(self.prompt_ids, device=ids.device)
            prompted = (ids[:, 1 : length + 1] == prompt).all(1)
            counted[:, :length] &= ~prompted[:, None]
        return counted

    def logits(self, model: Med, states: Tensor) -> Tensor:
        """Decoder states ``(…, D)`` to logits over the vocabulary ``(…, V)``."""
        return self.prediction(states, model.text_transformer.output_embeddings)

    @torch.no_grad()
    def generate(
        self, images: ImageEncoding, decoding: Decoding, generator: torch.Generator | None = None
    ) -> list[str]:
        """Write one caption per image, without the prompt. The model is in evaluation mode.

        Raises RecipeError when the prompt leaves no room within ``decoding.max_length``, or when the text
        transformer has fewer positions.
        """
        tokenizer = images.model.tokenizer
        written = self.generate_ids(images, decoding, generator)
        prompt = tokenizer.decode(tokenizer([decoding.prompt], end=False)[0][0].tolist())
        return [tokenizer.decode(ids).removeprefix(prompt).strip() for ids in written]

    @torch.no_grad()
    def generate_ids(
        self, images: ImageEncoding, decoding: Decoding, generator: torch.Generator | None = None
    ) -> list[list[int]]:
        """Token ids of one caption per image: [DEC], prompt, words; without [SEP]."""
        model = images.model
        prompt, _ = model.tokenizer([decoding.prompt], end=False)
        prompt = first_token_replaced(prompt, model.tokenizer.decode_id).to(images.embeds.device)
        if prompt.shape[1] >= decoding.max_length:
            raise RecipeError(
                f"max_length {decoding.max_length} leaves no room for words after [DEC] and the prompt "
                f"{decoding.prompt!r}, which are {prompt.shape[1]} tokens"
            )
        if decoding.max_length > model.text_transformer.max_positions:
            raise RecipeError(
                f"max_length {decoding.max_length} is more than the text encoder's "
                f"{model.text_transformer.max_positions} positions (max_positions)"
            )
        rows = prompt.expand(len(images), -1)
        decoder = CachedDecoder(
            step_weights(model.text_transformer, self.prediction),
            images.keys_values("decoder"),
            decoding.max_length,
        )
        if decoding.method == "beam" and decoding.beams > 1:
            return beam_search(decoder, rows, decoding, model.tokenizer.end_id)
        return sample(decoder, rows, decoding, model.tokenizer.end_id, generator)
