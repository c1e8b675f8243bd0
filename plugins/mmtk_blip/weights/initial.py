"""First weights of one tower each: a vision transformer of timm, and BERT; kind ``weights``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import timm
import torch
from huggingface_hub import logging
from torch import Tensor
from transformers.utils import cached_file

from mmtk.api import CheckpointError, ForeignWeights, Learner
from mmtk_blip.image_encoder import TimmViT
from mmtk_blip.text_transformer import DECODERS_OWN, TextTransformer
from mmtk_blip.tokenizer import VOCABULARY_FILE, WordPiece, read_vocabulary
from mmtk_blip.weights.names import BERT, PREDICTION
from mmtk_blip.weights.public import TEXT, Heads
from mmtk_blip.weights.reading import read_tensors

VIT = "model.image_encoder.vit."
_BERTS_PREDICTIONS = "cls.predictions."
_WORDS = "embeddings.word_embeddings.weight"
_POSITIONS = "embeddings.position_embeddings.weight"
_SEGMENTS = "embeddings.token_type_embeddings.weight"
# Names of BERT checkpoints from before 2019.
_OLD_NAMES = ((".gamma", ".weight"), (".beta", ".bias"))


class TimmWeights:
    """Weights of a timm ViT or DeiT for the image encoder ``timm_vit``; public BLIP starts with DeiT-B/16.

    Args:
        name: a model of timm's with pretrained weights, which are fetched from the hub.
        path: a local file or folder of its state dict.
    """

    def __init__(self, *, name: str | None = None, path: Path | None = None) -> None:
        self._name = name
        self._path = path

    def __call__(self, learner: Learner) -> ForeignWeights:
        """The encoder's tensors; a classifier is left over.

        Raises CheckpointError when the weights can't be had, are no ViT's, or the image encoder is another.
        """
        encoder = getattr(learner.model, "image_encoder", None)
        if not isinstance(encoder, TimmViT):
            raise CheckpointError(
                f"timm's weights fit the image encoder 'timm_vit', and this one is {type(encoder).__name__}"
            )
        given = self._tensors()
        if "cls_token" not in given or "pos_embed" not in given:
            raise CheckpointError(
                f"{self._name or self._path}: no vision transformer with a class token: it lacks cls_token "
                "or pos_embed"
            )
        # A distilled DeiT has a second token, with a position of its own.
        if "dist_token" in given and given["pos_embed"].ndim == 3:
            given["pos_embed"] = torch.cat((given["pos_embed"][:, :1], given["pos_embed"][:, 2:]), dim=1)
        wanted = encoder.vit.state_dict()
        found = {VIT + name: tensor for name, tensor in given.items() if name in wanted}
        return ForeignWeights(found, tuple(name for name in given if name not in wanted))

    def _tensors(self) -> dict[str, Tensor]:
        if self._path is not None:
            return read_tensors(self._path)
        assert self._name is not None, "the config asks for one of name and path"
        if not timm.is_model(self._name):
            raise CheckpointError(f"timm has no network {self._name!r}")
        settings = timm.models.get_pretrained_cfg(self._name)
        if settings is None or not settings.has_weights:
            raise CheckpointError(f"timm has no pretrained weights for {self._name!r}")
        _quiet_hub()
        try:
            return dict(timm.create_model(self._name, pretrained=True).state_dict())
        # The hub's clients have many kinds of exceptions.
        except Exception as error:
            raise _unfetched(f"timm's weights {self._name!r}", error) from error


class BertWeights:
    """Weights of BERT for the text transformer and the heads that predict words; public BLIP's first ones.

    BERT has no cross-attention, which keeps its random values, as do the rows of tokens that BERT lacks:
    [DEC] and [ENC]. Encoder and decoder start alike. What BERT adds for segments is left over, as in BLIP,
    but for models that add the first segment's to the positions, as ALBEF.

    Args:
        name: a BERT of the hub, e.g. ``bert-base-uncased``.
        path: a local file or folder in BERT's layout.
    """

    def __init__(self, *, name: str | None = None, path: Path | None = None) -> None:
        self._name = name
        self._path = path

    def __call__(self, learner: Learner) -> ForeignWeights:
        """The text transformer's tensors.

        Raises CheckpointError when the weights can't be had, are no BERT's, or have another vocabulary.
        """
        transformer = getattr(learner.model, "text_transformer", None)
        if not all(hasattr(transformer, part) for part in ("embeddings", "self_attention", "feed_forward")):
            raise CheckpointError(
                f"BERT's weights fit a text transformer of BERT's parts, and {type(learner.model).__name__} "
                "has none"
            )
        path = self._folder() if self._path is None else self._path
        given = {_plain_name(name): (name, tensor) for name, tensor in read_tensors(path).items()}
        if _WORDS not in given:
            raise CheckpointError(f"{path}: no BERT: it lacks {_WORDS}")
        _check_vocabulary(len(given[_WORDS][1]), path, learner)
        own = DECODERS_OWN[transformer.sharing] if isinstance(transformer, TextTransformer) else ()
        predictions = [f"heads.{head}.prediction." for head in Heads.of(learner).predict_words]
        predictions += ["model.prediction."] if hasattr(learner.model, "prediction") else []
        if getattr(transformer, "adds_segment", False):
            _add_segment(given)
        state = learner.state_dict()
        found: dict[str, Tensor] = {}
        left_over = []
        for name, (theirs, tensor) in given.items():
            places = _places(name, own, predictions)
            found |= {place: _begun(tensor, place, state) for place in places}
            if not places:
                left_over.append(theirs)
        return ForeignWeights(found, tuple(left_over))

    def _folder(self) -> Path:
        assert self._name is not None, "the config asks for one of name and path"
        _quiet_hub()
        try:
            weights = cached_file(self._name, "model.safetensors")
            cached_file(self._name, VOCABULARY_FILE, _raise_exceptions_for_missing_entries=False)
            return Path(str(weights)).parent
        # The hub's client has many kinds of exceptions.
        except Exception as error:
            raise _unfetched(f"BERT's weights {self._name!r}", error) from error


def _quiet_hub() -> None:
    """The hub's client logs every retry; the one message that counts comes at the end."""
    logging.set_verbosity_error()


def _unfetched(what: str, error: Exception) -> CheckpointError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return CheckpointError(f"{what} can't be fetched ({reason}); without a network, give path: a local copy")


def _add_segment(given: dict[str, tuple[str, Tensor]]) -> None:
    """Add the first segment's embedding, which all tokens get, to those of the positions."""
    if _POSITIONS in given and _SEGMENTS in given:
        theirs, positions = given[_POSITIONS]
        given[_POSITIONS] = theirs, positions + given[_SEGMENTS][1][0]


def _places(name: str, own: Collection[str], predictions: Sequence[str]) -> list[str]:
    """Where a BERT tensor belongs, in a learner whose decoder has the parts ``own`` to itself."""
    ours = BERT.ours(name)
    if ours is not None:
        both = (TEXT, f"{TEXT}decoder_") if ours.partition(".")[0] in own else (TEXT,)
        return [side + ours for side in both]
    if name.startswith(_BERTS_PREDICTIONS):
        predicted = PREDICTION.ours(name.removeprefix(_BERTS_PREDICTIONS))
        return [] if predicted is None else [place + predicted for place in predictions]
    return []


def _plain_name(name: str) -> str:
    """A BERT tensor's name without the model's prefix, and as BERT names it today."""
    name = name.removeprefix("bert.")
    for old, new in _OLD_NAMES:
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _begun(tensor: Tensor, place: str, state: dict[str, Tensor]) -> Tensor:
    """``tensor`` for a learner's that has more or fewer rows (words, positions); further rows stay."""
    mine = state.get(place)
    by_rows = place.endswith(("embeddings.word.weight", "embeddings.position.weight", "prediction.bias"))
    if mine is None or not by_rows or mine.shape[1:] != tensor.shape[1:]:
        return tensor
    rows = min(len(mine), len(tensor))
    return torch.cat((tensor[:rows], mine[rows:]))


def _check_vocabulary(rows: int, path: Path, learner: Learner) -> None:
    """BERT's tokens must be the learner's first ones. Without a vocab.txt, only their number is compared."""
    tokenizer = learner.model.tokenizer
    listed = path / VOCABULARY_FILE
    tokens = read_vocabulary(listed) if listed.is_file() else None
    other = rows > tokenizer.vocab_size
    if tokens is not None and isinstance(tokenizer, WordPiece):
        other = other or tokens != tokenizer.vocabulary[: len(tokens)]
    if other:
        raise CheckpointError(
            f"{path}: BERT's vocabulary of {rows} tokens isn't the beginning of the learner's "
            f"{tokenizer.vocab_size}: use the same vocab.txt for both"
        )
