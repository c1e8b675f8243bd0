"""A mixture of even draws and the hardest negative, whose weights move while training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmtk.api import Negatives


class Curriculum(nn.Module):
    """Takes a row's hardest negative with a chance that rises from ``start`` to ``end`` in ``steps`` batches.

    It is a module for the sake of its counter: a buffer is saved with the head that holds the sampler, so a
    resumed run goes on at the hardness it had. In evaluation mode nothing is counted.
    """

    batches: Tensor

    def __init__(self, *, steps: int, start: float = 0.0, end: float = 1.0) -> None:
        super().__init__()
        self.steps, self.start, self.end = steps, start, end
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    @property
    def hardness(self) -> float:
        """The chance that the next batch's rows take their hardest negatives."""
        return self.start + (self.end - self.start) * min(1.0, self.batches.item() / self.steps)

    def forward(
        self, text_to_image: Tensor, image_to_text: Tensor, matching: Tensor, generator: torch.Generator
    ) -> Negatives:
        """Draw as ``NegativeSampler`` says. A row that matches all takes another pair, or if alone itself."""
        own = torch.eye(*matching.shape, dtype=torch.bool, device=matching.device)
        others = own.logical_not() if matching.shape[1] > 1 else own
        allowed = torch.where(matching.all(1, keepdim=True), others, matching.logical_not())
        chances = [self._chances(logits, allowed) for logits in (text_to_image, image_to_text)]
        drawn = torch.multinomial(torch.cat(chances).cpu(), 1, generator=generator).squeeze(1)
        if self.training:
            self.batches += 1
        return Negatives(*drawn.to(matching.device).split(len(matching)))

    def _chances(self, logits: Tensor, allowed: Tensor) -> Tensor:
        """``(B, K)``: of each row's allowed columns, the mixture of even chances and the hardest one's."""
        even = allowed / allowed.sum(1, keepdim=True)
        hardest = logits.float().nan_to_num().masked_fill(allowed.logical_not(), -torch.inf).argmax(1)
        return torch.lerp(even, nn.functional.one_hot(hardest, allowed.shape[1]).float(), self.hardness)
