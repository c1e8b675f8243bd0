"""A model with its training heads: what a training stage makes and a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from mmtk.errors import CheckpointError


class Learner(nn.Module):
    """A model and the heads that were built on it.

    Attributes:
        model: the model (``mmtk.kinds.Model``).
        heads: the heads (``mmtk.kinds.Head``) by the names the recipe gave them.
    """

    model: Any
    heads: nn.ModuleDict

    def __init__(self, model: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.model = model
        self.heads = nn.ModuleDict(dict(heads))

    def head_with(self, protocol: type) -> Any:
        """Return the first head that implements ``protocol``, a runtime-checkable one from ``mmtk.kinds``.

        Raises:
            CheckpointError: no head does; names the heads that there are.
        """
        for head in self.heads.values():
            if isinstance(head, protocol):
                return head
        present = ", ".join(f"{name} ({type(head).__name__})" for name, head in self.heads.items()) or "none"
        wanted = (protocol.__doc__ or protocol.__name__).partition("\n")[0].rstrip(".")
        raise CheckpointError(
            f"this needs {wanted[:1].lower()}{wanted[1:]}, and the checkpoint has none; its heads: {present}"
        )
