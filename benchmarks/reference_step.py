"""BLIP's pre-training step written plainly, as public code goes about it: the yardstick of mmtk's step.

Texts are padded to a fixed length and run with their padding; attention keeps its matrix of weights; each
pass over an image computes that image's keys and values anew; ITM runs the pairs and the negatives in two
passes, with the negatives' image tokens stacked; words are predicted at every position; the momentum encoder
is a whole copy of the text encoder, averaged parameter by parameter into new tensors. Parameters are named as
mmtk's are, so that one state dict fits both.

Shapes: ``B`` pairs, ``N`` image tokens, ``L`` text tokens, ``D`` width, ``E`` joint embedding, ``Q`` queue.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from benchmarks.step_sizes import Sizes


class ImageAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, length, width = tokens.shape
        split = self.qkv(tokens).reshape(batch, length, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1) * (width // self.heads) ** -0.5).softmax(-1)
        return self.proj((weights @ value).transpose(1, 2).reshape(batch, length, width))


class ImageMlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))


class ImageBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = ImageAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = ImageMlp(width)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class PatchEmbedding(nn.Module):
    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, patch_size)


class Vit(nn.Module):
    """ViT (Dosovitskiy et al. 2021) with pre-norm blocks; ``(B, 3, H, W)`` to ``(B, N, D)``."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        patches = (sizes.image_size // sizes.patch_size) ** 2
        self.cls_token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + patches, sizes.width))
        self.patch_embed = PatchEmbedding(sizes.patch_size, sizes.width)
        self.blocks = nn.ModuleList(ImageBlock(sizes.width, sizes.heads) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(sizes.width, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed.proj(images).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.cls_token.expand(len(images), -1, -1), patches), 1) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)


class TextAttention(nn.Module):
    """BERT's attention, residual and norm; to ``source`` where given, else to the states themselves."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, states: Tensor, bias: Tensor, source: Tensor | None = None) -> Tensor:
        source = states if source is None else source
        query, key, value = (
            layer(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, tokens in ((self.query, states), (self.key, source), (self.value, source))
        )
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5 + bias
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        return self.norm(self.output(mixed) + states)


class TextMlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, states: Tensor) -> Tensor:
        return self.norm(self.contract(F.gelu(self.expand(states))) + states)


class TextEmbeddings(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.word = nn.Embedding(sizes.vocabulary, sizes.width)
        self.position = nn.Embedding(sizes.max_positions, sizes.width)
        self.norm = nn.LayerNorm(sizes.width, eps=1e-12)

    def forward(self, ids: Tensor) -> Tensor:
        return self.norm(self.word(ids) + self.position(torch.arange(ids.shape[1], device=ids.device)))


class TextEncoder(nn.Module):
    """BERT with cross-attention; all its layers, the decoder's self-attention apart."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        layers = range(sizes.depth)
        self.embeddings = TextEmbeddings(sizes)
        self.self_attention = nn.ModuleList(TextAttention(sizes.width, sizes.heads) for _ in layers)
        self.cross_attention = nn.ModuleList(TextAttention(sizes.width, sizes.heads) for _ in layers)
        self.feed_forward = nn.ModuleList(TextMlp(sizes.width) for _ in layers)

    def forward(
        self,
        ids: Tensor,
        mask: Tensor,
        image: Tensor | None = None,
        self_attention: nn.ModuleList | None = None,
    ) -> Tensor:
        """Ids and mask ``(R, L)`` to states ``(R, L, D)``; with ``self_attention`` as causal decoder."""
        allowed = mask[:, None, None, :]
        if self_attention is not None:
            allowed = allowed & torch.ones(2 * ids.shape[1:], dtype=torch.bool, device=ids.device).tril()
        bias = (1.0 - allowed.float()) * -10000.0
        states = self.embeddings(ids)
        for attention, cross_attention, feed_forward in zip(
            self_attention or self.self_attention, self.cross_attention, self.feed_forward, strict=True
        ):
            states = attention(states, bias)
            if image is not None:
                image_bias = torch.zeros(len(image), 1, 1, image.shape[1], device=image.device)
                states = cross_attention(states, image_bias, image)
            states = feed_forward(states)
        return states


class WordPrediction(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.dense = nn.Linear(sizes.width, sizes.width)
        self.norm = nn.LayerNorm(sizes.width, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(sizes.vocabulary))

    def forward(self, states: Tensor, words: Tensor) -> Tensor:
        return F.linear(self.norm(F.gelu(self.dense(states))), words, self.bias)


@dataclass(frozen=True)
class Tokens:
    """A batch's texts, padded to the fixed length: ids ``(B, L)`` int64 and mask ``(B, L)`` bool."""

    ids: Tensor
    mask: Tensor


class Reference(nn.Module):
    """Model, momentum copy and queue in one module."""

    def __init__(self, sizes: Sizes, encode_id: int, decode_id: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.encode_id, self.decode_id = encode_id, decode_id
        self.image_encoder = Vit(sizes)
        self.text_encoder = TextEncoder(sizes)
        self.image_projection = nn.Linear(sizes.width, sizes.embed_dim)
        self.text_projection = nn.Linear(sizes.width, sizes.embed_dim)
        self.decoder_self_attention = nn.ModuleList(
            TextAttention(sizes.width, sizes.heads) for _ in range(sizes.depth)
        )
        self.prediction = WordPrediction(sizes)
        self.classifier = nn.Linear(sizes.width, 2)
        self.temperature = nn.Parameter(torch.tensor(0.07))
        self.register_buffer("image_queue", torch.zeros(sizes.embed_dim, sizes.queue))
        self.register_buffer("text_queue", torch.zeros(sizes.embed_dim, sizes.queue))
        self.pointer = 0

    def load(self, state: dict[str, Tensor], images: Tensor, texts: Tensor) -> None:
        """Take the weights of an mmtk learner and fill the queue with features ``(Q, E)``; then copy."""
        renamed: dict[str, Tensor] = {}
        for name, tensor in state.items():
            name = name.removeprefix("model.").replace("image_encoder.vit.", "image_encoder.")
            name = name.removeprefix("heads.itm.").removeprefix("heads.lm.")
            part = name.removeprefix("text_transformer.")
            renamed[part if part == name or part.startswith("decoder_") else f"text_encoder.{part}"] = tensor
        self.load_state_dict(renamed | {"image_queue": images.t(), "text_queue": texts.t()})
        online = (self.image_encoder, self.image_projection, self.text_encoder, self.text_projection)
        self.slow = nn.ModuleList(copy.deepcopy(module).requires_grad_(False) for module in online)

    @torch.no_grad()
    def _move(self) -> None:
        online = (self.image_encoder, self.image_projection, self.text_encoder, self.text_projection)
        for fast_module, slow_module in zip(online, self.slow, strict=True):
            for fast, slow in zip(fast_module.parameters(), slow_module.parameters(), strict=True):
                slow.data = slow.data * 0.995 + fast.data * (1.0 - 0.995)

    def forward(
        self, images: Tensor, tokens: Tokens, alpha: float, drawn: tuple[Tensor, Tensor]
    ) -> dict[str, Tensor]:
        """The losses of ITC, ITM and LM; ``drawn`` names an image for each text and a text for each image."""
        with torch.no_grad():
            self.temperature.clamp_(0.001, 0.5)
        embeds = self.image_encoder(images)
        itc = self._contrast(images, embeds, tokens, alpha)
        return {"itc": itc, "itm": self._match(embeds, tokens, drawn), "lm": self._caption(embeds, tokens)}

    def _contrast(self, images: Tensor, embeds: Tensor, tokens: Tokens, alpha: float) -> Tensor:
        image = F.normalize(self.image_projection(embeds[:, 0]), dim=-1)
        states = self.text_encoder(tokens.ids, tokens.mask)
        text = F.normalize(self.text_projection(states[:, 0]), dim=-1)
        with torch.no_grad():
            self._move()
            image_encoder, image_projection, text_encoder, text_projection = self.slow
            slow_image = F.normalize(image_projection(image_encoder(images)[:, 0]), dim=-1)
            slow_text = F.normalize(text_projection(text_encoder(tokens.ids, tokens.mask)[:, 0]), dim=-1)
            all_images = torch.cat((slow_image.t(), self.image_queue.clone()), 1)
            all_texts = torch.cat((slow_text.t(), self.text_queue.clone()), 1)
            teacher_image = (slow_image @ all_texts / self.temperature).softmax(1)
            teacher_text = (slow_text @ all_images / self.temperature).softmax(1)
            hard = torch.zeros_like(teacher_image).fill_diagonal_(1)
            image_targets = alpha * teacher_image + (1 - alpha) * hard
            text_targets = alpha * teacher_text + (1 - alpha) * hard
        image_logs = F.log_softmax(image @ all_texts / self.temperature, 1)
        text_logs = F.log_softmax(text @ all_images / self.temperature, 1)
        loss = -((image_logs * image_targets).sum(1).mean() + (text_logs * text_targets).sum(1).mean()) / 2
        self._push(slow_image, slow_text)
        return loss

    @torch.no_grad()
    def _push(self, image: Tensor, text: Tensor) -> None:
        end = self.pointer + len(image)
        self.image_queue[:, self.pointer : end] = image.t()
        self.text_queue[:, self.pointer : end] = text.t()
        self.pointer = end % self.sizes.queue

    def _match(self, embeds: Tensor, tokens: Tokens, drawn: tuple[Tensor, Tensor]) -> Tensor:
        ids, mask, count = tokens.ids.clone(), tokens.mask, len(embeds)
        ids[:, 0] = self.encode_id
        image_for_text, text_for_image = (index.tolist() for index in drawn)
        matching = self.text_encoder(ids, mask, embeds)
        negative_images = torch.stack([embeds[row] for row in image_for_text])
        negative_ids = torch.stack([ids[row] for row in text_for_image])
        negative_mask = torch.stack([mask[row] for row in text_for_image])
        negative = self.text_encoder(
            torch.cat((ids, negative_ids)),
            torch.cat((mask, negative_mask)),
            torch.cat((negative_images, embeds)),
        )
        logits = self.classifier(torch.cat((matching[:, 0], negative[:, 0])))
        classes = torch.cat((torch.ones(count), torch.zeros(2 * count))).long().to(logits.device)
        return F.cross_entropy(logits, classes)

    def _caption(self, embeds: Tensor, tokens: Tokens) -> Tensor:
        ids = tokens.ids.clone()
        ids[:, 0] = self.decode_id
        targets = ids.masked_fill(~tokens.mask, -100)
        states = self.text_encoder(ids, tokens.mask, embeds, self.decoder_self_attention)
        logits = self.prediction(states, self.text_encoder.embeddings.word.weight)
        shifted = logits[:, :-1].contiguous()
        return F.cross_entropy(shifted.flatten(0, 1), targets[:, 1:].flatten(), label_smoothing=0.1)
