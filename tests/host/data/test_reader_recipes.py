"""The readers as a recipe names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmtk.errors import RecipeError
from mmtk.kinds import Reader
from mmtk.plugins import load_plugins
from mmtk.recipe.build import blueprint, from_options, from_plain, to_plain
from mmtk.recipe.fingerprint import file_identities

from .samples import pair, picture, write_tar


@pytest.fixture(scope="module")
def registry() -> Any:
    return load_plugins().registry


@pytest.fixture
def build(registry: Any) -> Callable[..., Reader]:
    def build(use: str, **options: str) -> Reader:
        return blueprint(from_options("reader", use, options, registry), registry, {}).build()

    return build


def test_shards_at_an_address(
    build: Callable[..., Reader], registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shard = write_tar(tmp_path / "s.tar", pair("far"))
    fsspec.filesystem("memory").pipe("/recipe/s.tar", shard.read_bytes())
    reader = build("webdataset", path=f"[{shard}, 'memory://recipe/{{s,s}}.tar']")
    assert reader[0].key == "far"
    assert [entry.reason for entry in reader.quarantined] == ["duplicate key: it is in s.tar before"]
    node = from_options("reader", "webdataset", {"path": "memory://recipe/s.tar"}, registry)
    assert to_plain(node)["path"] == "memory://recipe/s.tar"
    assert from_plain("reader", to_plain(node), registry) == node
    assert file_identities(node) == {}


def test_tables(build: Callable[..., Reader], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "t.jsonl").write_text('{"image": "a.png", "en": "one", "de": "eins"}\n')
    (tmp_path / "t.tsv").write_text("image\tcaption\na.png\tone\n")
    pq.write_table(pa.table({"image": [picture()], "caption": ["one"]}), tmp_path / "t.parquet")
    assert build("jsonl", path=str(tmp_path / "t.jsonl"), text="[en, de]")[0].texts == ("one", "eins")
    assert build("csv", path=str(tmp_path / "t.tsv"), images=str(tmp_path))[0].key == "t-2"
    assert build("parquet", path=str(tmp_path / "*.parquet"))[0].image == picture()
    folded = build("fold", reader=f"{{use: parquet, path: {tmp_path}}}", fold="1")
    assert len(folded) == 0


@pytest.mark.parametrize(
    ("use", "options", "message"),
    [
        ("webdataset", {"path": "no/shards"}, "there is no file or folder no/shards"),
        ("webdataset", {"path": "5"}, "expected an address (PROTOCOL://…), a path or a list"),
        ("csv", {"path": ".", "delimiter": "ab"}, "must be one character"),
        ("csv", {"path": ".", "columns": "[a, a]"}, "two columns have one name"),
        ("jsonl", {"path": ".", "text": "[]"}, "needs at least one column"),
        ("jsonl", {"path": "s3://bucket/a.jsonl"}, "there is no file or folder"),
    ],
)
def test_mistakes(registry: Any, use: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        from_options("reader", use, options, registry)
    assert message in str(caught.value)
