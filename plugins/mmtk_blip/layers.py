"""The parts of a BERT layer beside attention: embeddings, feed-forward block, prediction head."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mmtk_blip.attention import LAYER_NORM_EPS
from mmtk_blip.lean_linear import gelu_linear

INITIAL_STD = 0.02


class TextEmbeddings(nn.Module):
    """Learned word and position embeddings, summed and normalised; as in BLIP, none for segments."""

    def __init__(self, vocab_size: int, width: int, max_positions: int, dropout: float) -> None:
        super().__init__()
        self.word = nn.Embedding(vocab_size, width)
        self.position = nn.Embedding(max_positions, width)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor, offset: int = 0) -> Tensor:
        """``(R, L)`` int64 ids of the positions from ``offset`` on, to ``(R, L, D)``."""
        positions = torch.arange(offset, offset + ids.shape[1], device=ids.device)
        return self.dropout(self.norm(self.word(ids) + self.position(positions)))


class FeedForward(nn.Module):
    """BERT's feed-forward block with residual and LayerNorm."""

    def __init__(self, width: int, hidden_width: int, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden_width)
        self.contract = nn.Linear(hidden_width, width)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)

    def forward(self, states: Tensor) -> Tensor:
        """``(R, L, D)`` to ``(R, L, D)``."""
        return self.norm(self.dropout(gelu_linear(self.expand(states), self.contract)) + states)


class WordPrediction(nn.Module):
    """BERT's prediction head: dense, GELU, LayerNorm, the word embeddings as output weights, bias."""

    def __init__(self, width: int, vocab_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, states: Tensor, word_embeddings: Tensor) -> Tensor:
        """States ``(…, D)`` and word embeddings ``(V, D)`` to logits ``(…, V)``."""
        return F.linear(self.norm(F.gelu(self.dense(states))), word_embeddings, self.bias)


def initialise_as_bert(module: nn.Module, std: float = INITIAL_STD) -> None:
    """Draw weights of linear layers and embeddings from N(0, std²) and zero the biases, as BERT does."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
