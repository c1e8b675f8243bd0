"""First weights for a learner from checkpoints of other programs; kind ``weights``."""

from __future__ import annotations

from pathlib import Path

from mmtk.api import CheckpointError, ForeignWeights, Learner
from mmtk_blip.med import Med
from mmtk_blip.weights import hf
from mmtk_blip.weights.public import Heads, weights_for
from mmtk_blip.weights.reading import read_tensors
from mmtk_blip.weights.sizes import vocabulary_size


class BlipWeights:
    """Weights of a BLIP checkpoint: public, LAVIS or transformers.

    Args:
        path: file or transformers folder.
    """

    def __init__(self, *, path: Path) -> None:
        self._path = path

    def __call__(self, learner: Learner) -> ForeignWeights:
        """The checkpoint's tensors by the learner's names.

        Raises CheckpointError when the checkpoint can't be read or isn't BLIP's, or the model isn't MED.
        """
        med = med_of(learner, "BLIP's weights")
        tensors = read_tensors(self._path)
        try:
            given = hf.public(tensors)
            vocabulary_size(given.tensors)
            weights = weights_for(given.tensors, med.text_transformer.sharing, Heads.of(learner))
        except CheckpointError as error:
            raise CheckpointError(f"{self._path}: {error}") from error
        left_over = tuple(given.names.get(name, name) for name in weights.left_over)
        return ForeignWeights(weights.tensors, left_over)


def med_of(learner: Learner, what: str) -> Med:
    """The learner's model. Raises CheckpointError when it isn't MED; ``what`` says which weights need it."""
    if not isinstance(learner.model, Med):
        raise CheckpointError(f"{what} fit the model 'med', and this one is {type(learner.model).__name__}")
    return learner.model
