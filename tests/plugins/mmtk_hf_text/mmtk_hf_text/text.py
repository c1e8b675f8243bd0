"""Text encoders of transformers, with layers on top that see the image, and the tokenizers beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer

from mmtk.api import DataError, Input, Range, RecipeError

Folder = Annotated[Path, Input("transformers_folder")]


class Seen(NamedTuple):
    keys: Tensor  # (B, N, width): image tokens as the layers on top read them

    def select(self, index: Tensor) -> Seen:
        return Seen(self.keys[index])


class Words(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.network(input_ids=ids, attention_mask=mask.long()).last_hidden_state


class HfText(Words):
    """What ``med`` asks of a text encoder, but no decoder; ``folder`` has a config, and may have weights."""

    def __init__(self, *, folder: Folder, layers: int = 2, vocab_size: int, image_width: int) -> None:
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            stored = any(folder.glob("*.safetensors"))
            network = AutoModel.from_pretrained(folder) if stored else AutoModel.from_config(config)
        except (OSError, ValueError) as error:
            raise RecipeError(f"hf_text: transformers can't open {folder}: {error}") from error
        network.pooler = None  # RoBERTa's, which nothing here would train
        network.resize_token_embeddings(vocab_size, mean_resizing=False)
        super().__init__(network)
        self.width: int = config.hidden_size
        self.project = nn.Linear(image_width, self.width)
        sizes = (self.width, config.num_attention_heads, config.intermediate_size)
        self.grounding = nn.ModuleList(
            nn.TransformerDecoderLayer(*sizes, activation="gelu", batch_first=True) for _ in range(layers)
        )

    encode = Words.forward

    def text_encoder(self) -> Words:
        return Words(self.network)

    def keys_values_side(self, side: str) -> str:
        return side

    def image_keys_values(self, embeds: Tensor, side: str) -> list[Seen]:  # noqa: ARG002
        return [Seen(self.project(embeds))]

    def ground(self, ids: Tensor, mask: Tensor, image: list[Seen], image_of: Tensor | None = None) -> Tensor:
        rows = image[0].keys if image_of is None else image[0].keys[image_of]
        rows = rows.repeat_interleave(len(ids) // len(rows), dim=0)
        states = self.encode(ids, mask)
        for layer in self.grounding:
            states = layer(states, rows, tgt_key_padding_mask=~mask)
        return states

    def stacked_layers(self) -> list[nn.Module]:
        return list(self.grounding)


class HfTokenizer:
    def __init__(self, *, folder: Folder, max_length: Annotated[int, Range(3)] = 30) -> None:
        try:  # a text that spells a special token is split like any other, and forges none
            inner = AutoTokenizer.from_pretrained(folder, local_files_only=True, split_special_tokens=True)
        except (OSError, ValueError) as error:
            raise DataError(f"hf_tokenizer: transformers can't open {folder}: {error}") from error
        inner.add_tokens(["[ENC]", "[DEC]"], special_tokens=True)
        self._inner, self.vocab_size, self.max_length = inner, len(inner), max_length
        self.encode_id, self.decode_id = inner.convert_tokens_to_ids(["[ENC]", "[DEC]"])
        self.pad_id, self.mask_id = inner.pad_token_id, inner.mask_token_id
        self.start_id = inner.bos_token_id if inner.cls_token_id is None else inner.cls_token_id
        self.end_id = inner.eos_token_id if inner.sep_token_id is None else inner.sep_token_id
        if None in (self.pad_id, self.start_id, self.end_id) or self.pad_id == self.end_id:
            raise DataError(f"hf_tokenizer: {folder} has no token for padding, a text's start or its end")

    def __call__(self, texts: Sequence[str], *, end: bool = True) -> tuple[Tensor, Tensor]:
        closing = [self.end_id] if end else []
        found = self._inner(list(texts), add_special_tokens=False).input_ids if texts else []
        rows = [[self.start_id, *row[: self.max_length - 1 - len(closing)], *closing] for row in found]
        longest = max(map(len, rows), default=0)
        padded = [row + [self.pad_id] * (longest - len(row)) for row in rows]
        ids = torch.tensor(padded, dtype=torch.long, device="cpu").view(len(rows), longest)
        return ids, ids != self.pad_id

    def decode(self, ids: Iterable[int]) -> str:
        return self._inner.decode(list(ids), skip_special_tokens=True)

    def save(self, folder: Path) -> None:
        self._inner.save_pretrained(folder)
