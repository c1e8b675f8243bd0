"""Between a learner's tensors and those of a public BLIP or LAVIS checkpoint.

Both call the parts ``visual_encoder``, ``text_encoder``, ``text_decoder``, ``vision_proj``, ``text_proj``,
``itm_head`` and ``temp``. A pre-training checkpoint has all of them, a captioner no encoder, a retriever no
decoder, and a model that answers questions only the first three. Pre-training ties encoder and decoder except
for their self-attention, and writes both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from mmtk.api import CheckpointError, ForeignWeights, Learner
from mmtk_blip.heads.itm import ItmHead
from mmtk_blip.heads.lm import LmHead
from mmtk_blip.heads.vqa import VqaHead
from mmtk_blip.text_transformer import DECODERS_OWN, Sharing
from mmtk_blip.weights.names import BERT, DECODER, ENCODER, PREDICTION, PREDICTIONS, TOWERS, beginning_with

TEXT = "model.text_transformer."
_WORDS = "embeddings.word_embeddings.weight"
_ITM = "itm_head."


@dataclass(frozen=True)
class Heads:
    """Names of a learner's heads that weights belong to."""

    itm: Sequence[str] = ()
    lm: Sequence[str] = ()
    vqa: Sequence[str] = ()

    @property
    def predict_words(self) -> tuple[str, ...]:
        """The heads that hold the layers behind ``text_decoder.cls``."""
        return (*self.lm, *self.vqa)

    @classmethod
    def of(cls, learner: Learner) -> Heads:
        heads = learner.heads.items()
        return cls(
            tuple(name for name, head in heads if isinstance(head, ItmHead)),
            tuple(name for name, head in heads if isinstance(head, LmHead)),
            tuple(name for name, head in heads if isinstance(head, VqaHead)),
        )


def answers_questions(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a public checkpoint is one for VQA: encoder and decoder, and nothing to compare or match by."""
    return (
        f"{PREDICTIONS}bias" in tensors
        and any(name.startswith(ENCODER) for name in tensors)
        and not any(name.startswith(("vision_proj.", _ITM)) for name in tensors)
    )


def sharing_of(tensors: Mapping[str, Tensor]) -> Sharing:
    """What encoder and decoder of a public checkpoint share, told from which tensors are equal.

    A tensor that only one of them has counts as shared; so a checkpoint without encoder or without decoder
    gives ``all``: its one transformer serves in every mode.
    """
    encoder, decoder = beginning_with(ENCODER, tensors), beginning_with(DECODER, tensors)
    differing = {
        ours.partition(".")[0]
        for name, ours in ((name, BERT.ours(name)) for name in encoder)
        if ours is not None and name in decoder and not same(encoder[name], decoder[name])
    }
    for sharing in ("all", "all_but_sa", "all_but_ca"):
        if differing <= DECODERS_OWN[sharing]:
            return sharing
    return "none"


def weights_for(tensors: Mapping[str, Tensor], sharing: Sharing, heads: Heads) -> ForeignWeights:
    """Public ``tensors`` by the names of a learner with ``sharing`` and ``heads``.

    The decoder fills the encoder's place where the checkpoint has no encoder, and the other way round.

    Raises CheckpointError when the checkpoint predicts words by other weights than it reads them with.
    """
    encoder, decoder = beginning_with(ENCODER, tensors), beginning_with(DECODER, tensors)
    found: dict[str, Tensor] = {}
    used: set[str] = set()
    for name, tensor in (decoder | encoder).items():
        ours = BERT.ours(name)
        if ours is None:
            continue
        found[TEXT + ours] = tensor
        theirs = (ENCODER if name in encoder else DECODER) + name
        used.add(theirs)
        other = decoder.get(name, tensor)
        if ours.partition(".")[0] in DECODERS_OWN[sharing]:
            found[f"{TEXT}decoder_{ours}"] = other
            used.add(DECODER + name)
        elif same(other, tensor):
            used.add(DECODER + name)
    for name, tensor in tensors.items():
        places = _places(name, heads)
        found |= dict.fromkeys(places, tensor)
        used |= {name} if places else set()
    used |= _tied_predictions(tensors)
    return ForeignWeights(found, tuple(name for name in tensors if name not in used))


def public_tensors(learner: Learner) -> dict[str, Tensor]:
    """A learner's tensors by all public names that they have, of encoder and of decoder.

    Heads that aren't ITM, LM or VQA have none and are left out.

    Raises CheckpointError for any other tensor without a public name.
    """
    heads, state = Heads.of(learner), learner.state_dict()
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        ours = name.removeprefix(TEXT)
        if ours.startswith("decoder_"):
            continue
        if ours != name:
            theirs = BERT.theirs(ours)
            assert theirs is not None, f"{name} has no name in BERT"
            found[ENCODER + theirs] = tensor
            found[DECODER + theirs] = state.get(f"{TEXT}decoder_{ours}", tensor)
            continue
        found |= _public(name, tensor, heads)
    if any(name.startswith(PREDICTIONS) for name in found):
        found[f"{PREDICTIONS}decoder.weight"] = found[DECODER + _WORDS]
        found[f"{PREDICTIONS}decoder.bias"] = found[f"{PREDICTIONS}bias"]
    return found


def same(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors have the same shape and values, NaN being NaN's like."""
    if first.shape != second.shape:
        return False
    return bool(((first == second) | ((first != first) & (second != second))).all())


def _places(name: str, heads: Heads) -> list[str]:
    """Where a tensor outside the text transformer belongs."""
    tower = TOWERS.ours(name)
    if tower is not None:
        return [f"model.{tower}"]
    if name.startswith(_ITM):
        return [f"heads.{head}.classifier.{name.removeprefix(_ITM)}" for head in heads.itm]
    if name.startswith(PREDICTIONS):
        ours = PREDICTION.ours(name.removeprefix(PREDICTIONS))
        return [] if ours is None else [f"heads.{head}.prediction.{ours}" for head in heads.predict_words]
    return []


def _tied_predictions(tensors: Mapping[str, Tensor]) -> set[str]:
    """The copies of word embeddings and bias that BERT's prediction head writes. Raises if they are none."""
    words = tensors.get(DECODER + _WORDS, tensors.get(ENCODER + _WORDS))
    found = set()
    for name, original in (("decoder.weight", words), ("decoder.bias", tensors.get(f"{PREDICTIONS}bias"))):
        copy = tensors.get(PREDICTIONS + name)
        if copy is None:
            continue
        if original is None or not same(copy, original):
            raise CheckpointError(
                f"{PREDICTIONS}{name}: the checkpoint predicts words by weights of their own, and mmtk's LM "
                "head by the word embeddings it reads with"
            )
        found.add(PREDICTIONS + name)
    return found


def _public(name: str, tensor: Tensor, heads: Heads) -> dict[str, Tensor]:
    """The public name of a tensor outside the text transformer."""
    area, _, rest = name.partition(".")
    if area == "model":
        tower = TOWERS.theirs(rest)
        if tower is not None:
            return {tower: tensor}
    else:
        head, _, rest = rest.partition(".")
        if head not in (*heads.itm, *heads.predict_words):
            return {}
        if head in heads.itm and rest.startswith("classifier."):
            return {_ITM + rest.removeprefix("classifier."): tensor}
        ours = PREDICTION.theirs(rest.removeprefix("prediction."))
        if head in heads.predict_words and ours is not None:
            return {PREDICTIONS + ours: tensor}
    raise CheckpointError(f"{name}: BLIP's public layout has no place for this tensor {tuple(tensor.shape)}")
