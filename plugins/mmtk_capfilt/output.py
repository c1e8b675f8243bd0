"""The shards of a pass: a part's kept texts as one file that appears whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import pyarrow as pa

from mmtk.api import DataError, RawSample, TarShard, check_sample, stable_hash
from mmtk_capfilt.parts import unfinished, write_table

Format = Literal["webdataset", "parquet"]
_ENDINGS: dict[str, str] = {"webdataset": "tar", "parquet": "parquet"}
_FEATURES = {
    "key": {"dtype": "string", "_type": "Value"},
    "image": {"_type": "Image"},
    "text": {"dtype": "string", "_type": "Value"},
    "image_id": {"dtype": "string", "_type": "Value"},
    "source": {"dtype": "string", "_type": "Value"},
}
# What Hugging Face ``datasets`` writes to say that a column holds pictures.
_METADATA = {b"huggingface": json.dumps({"info": {"features": _FEATURES}}).encode()}
_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("text", pa.string()),
        ("image_id", pa.string()),
        ("source", pa.string()),
    ]
).with_metadata(_METADATA)


def shard_path(folder: Path, stage: str, number: int, form: Format) -> Path:
    """Where the shard of a part lies, named by its stage to tell those of several rounds apart."""
    return folder / f"{stage}-{number:06d}.{_ENDINGS[form]}"


def write_shard(path: Path, samples: Iterable[RawSample], form: Format) -> int:
    """Write samples of one text each; return how many there were. Without any there is no file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = list(samples)
    if not whole:
        path.unlink(missing_ok=True)
    elif form == "parquet":
        _write_parquet(path, whole)
    else:
        _write_tar(path, whole)
    return len(whole)


def _write_tar(path: Path, samples: list[RawSample]) -> None:
    shard = TarShard(unfinished(path))
    try:
        for sample in samples:
            shard.write(sample)
    except BaseException:
        shard.discard()
        raise
    shard.finish()
    shard.path.replace(path)


def _write_parquet(path: Path, samples: list[RawSample]) -> None:
    rows = [
        {
            "key": sample.key,
            "image": {"bytes": sample.image, "path": None},
            "text": sample.texts[0],
            "image_id": sample.image_id,
            "source": sample.source,
        }
        for sample in samples
    ]
    write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), path)


def shard_key(key: str) -> str:
    """The key itself where it can name a file in a shard, or another one made of it."""
    if re.fullmatch(r"(?!\.{1,2}/)[^./\\\x00-\x1f]+(/[^./\\\x00-\x1f]+)*", key):
        return key
    plain = re.sub(r"[^\w-]+", "-", key).strip("-")[-60:]
    return f"{plain}-{stable_hash(key):016x}"


def unwritable(sample: RawSample) -> str:
    """Say why a sample can't be written to a shard; empty if it can."""
    try:
        check_sample(sample, ())
    except DataError as error:
        return str(error)
    return ""
