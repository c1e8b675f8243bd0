"""The captioner's pass over the web images (BLIP §3.3)."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import torch

from mmtk.api import CaptioningHead, Decoding, Quarantined, Reader, StageContext, StageError
from mmtk.data.configs import EvaluationDataConfig
from mmtk.data.quarantine import Quarantine
from mmtk.engine.checkpoint import load_learner
from mmtk.engine.learner import Learner
from mmtk.types import stable_hash
from mmtk_capfilt.parts import images_of, in_parts, write_table

# A part also holds what could not be captioned: text is null there, and reason and location say why.
PART_SCHEMA = pa.schema([(name, pa.string()) for name in ("key", "image_id", "text", "reason", "location")])
COLUMNS = ["key", "image_id", "text"]


class CaptionStage:
    """Writes one caption per image of ``reader`` into ``captions.parquet`` (key, image_id, text).

    Images that can't be read are listed in ``quarantine.jsonl``. What is sampled depends on the run's seed
    and on the position of the batch in the dataset alone.
    """

    def __init__(
        self, *, checkpoint: Path, data: EvaluationDataConfig, decoding: Decoding, part_size: int
    ) -> None:
        self._checkpoint = checkpoint
        self._data = data
        self._decoding = decoding
        self._part_size = part_size

    def run(self, context: StageContext) -> None:
        """Raises CheckpointError when the checkpoint has no head that writes captions."""
        learner = load_learner(self._checkpoint, context.registry, context.device)
        learner.head_with(CaptioningHead)
        reader = self._data.reader.build()

        def compute(indices: range) -> pa.Table:
            table = self._caption(learner, reader, indices, context)
            context.say(f"captioned {indices.stop} of {len(reader)} images")
            return table

        rows = in_parts(context.folder / "parts", len(reader), self._part_size, PART_SCHEMA, compute)
        failed = rows.filter(rows["text"].is_null()).to_pylist()
        captions = rows.filter(rows["text"].is_valid()).select(COLUMNS)
        quarantine = Quarantine(reader.quarantined)
        for row in failed:
            quarantine.add(Quarantined(row["key"], row["reason"], row["location"]))
        quarantine.write(context.folder / "quarantine.jsonl")
        write_table(captions, context.folder / "captions.parquet")
        context.say(f"{len(captions)} captions; {len(quarantine)} images could not be read")

    @torch.inference_mode()
    def _caption(self, learner: Learner, reader: Reader, indices: range, context: StageContext) -> pa.Table:
        head = learner.head_with(CaptioningHead)
        data = images_of(self._data, reader, indices)
        rows: list[dict[str, str | None]] = []
        for number, batch in enumerate(data):
            generator = torch.Generator().manual_seed(
                stable_hash(context.seed, "caption", indices.start, number)
            )
            images = learner.model.encode_images(batch.images.to(context.device))
            for key, text in zip(batch.keys, head.generate(images, self._decoding, generator), strict=True):
                rows.append({"key": key, "image_id": data.raw(key).image_id, "text": text})
        for entry in data.quarantine.entries:
            rows.append({"key": entry.key, "reason": entry.reason, "location": entry.location})
        if len(rows) != len(indices):
            raise StageError(f"{len(indices)} images in, but {len(rows)} captioned or quarantined")
        return pa.Table.from_pylist(rows, schema=PART_SCHEMA)
