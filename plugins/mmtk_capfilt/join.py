"""One ledger from several filters, each of which judged its own part of the images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mmtk.api import StageContext, StageError
from mmtk_capfilt.ledger import IMAGE, read_ledger
from mmtk_capfilt.parts import write_table


class JoinLedgersStage:
    """Writes the rows of all ledgers, in their order, as one ledger.

    A score that only some of them have is missing in the rows of the others. The rules are kept only where
    all ledgers were decided by the same.
    """

    def __init__(self, *, ledgers: Sequence[Path]) -> None:
        self._ledgers = ledgers

    def run(self, context: StageContext) -> None:
        """Raises StageError when two ledgers are about one image."""
        tables = [read_ledger(path) for path in self._ledgers]
        seen: dict[str, Path] = {}
        for path, table in zip(self._ledgers, tables, strict=True):
            # A key that occurs twice in the data is a sample in one part and has failed in another.
            judged = table.filter(pc.not_equal(table["source"], IMAGE))
            keys = pc.unique(judged["key"]).to_pylist()
            again = next((key for key in keys if key in seen), None)
            if again is not None:
                raise StageError(
                    f"{path} and {seen[again]} both judge the image {again!r}: join parts that differ"
                )
            seen |= dict.fromkeys(keys, path)
        joined = pa.concat_tables(tables, promote_options="default")
        if any(table.schema.metadata != joined.schema.metadata for table in tables):
            joined = joined.replace_schema_metadata(None)
        write_table(joined, context.folder / "ledger.parquet")
        context.say(f"{len(joined)} rows about {len(seen)} images from {len(tables)} ledgers")
