"""What the step takes. This module imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mmtk.api import Input, Range


@dataclass(frozen=True, kw_only=True)
class HfCaptionerConfig:
    """Write captions with an image-to-text model of transformers."""

    folder: Annotated[Path, Input("transformers_model")]
    """What `save_pretrained` has written: model, image processor and tokenizer."""
    captions: Annotated[int, Range(1)] = 1
    """Captions of each image."""
    top_p: Annotated[float, Range(0, 1, low_open=True)] = 0.9
    """Probability mass that each token is drawn from."""
    beams: Annotated[int | None, Range(1)] = None
    """Search with so many beams and draw nothing; null draws."""
    max_tokens: Annotated[int, Range(1)] = 30
    """Greatest length of a caption."""

    def check(self) -> Iterator[tuple[str, str]]:
        if self.captions > 1 and self.beams is not None:
            yield "captions", "a search finds the same caption each time; leave beams out to draw several"
