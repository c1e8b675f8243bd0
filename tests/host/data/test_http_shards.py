"""Shards on a web server, on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mmtk.data.readers.shard_stream import iterate_shard
from mmtk.data.readers.webdataset import WebDatasetReader
from mmtk.errors import DataError, SampleError
from mmtk.types import Quarantined, RawSample

from .samples import pair, picture, write_tar

pytest.importorskip("aiohttp")


class Server(ThreadingHTTPServer):
    """Serves one file. Counts the answers; ``ranges`` off makes it ignore what part was asked for."""

    content = b""
    ranges = True
    answers = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        self.server.answers += 1
        if not self.path.endswith("s.tar"):
            self.send_error(404)
            return
        wanted = self.headers.get("Range") if self.server.ranges else None
        first, last = 0, len(self.server.content) - 1
        if wanted:
            first, last = (int(part) for part in wanted.removeprefix("bytes=").split("-"))
        body = self.server.content[first : last + 1]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"one"')
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(self.server.content)}")
        if self.server.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    members = [member for n in range(5) for member in pair(f"k{n}", b"text %d" % n, picture(seed=n))]
    server = Server(("127.0.0.1", 0), Handler)
    server.content = write_tar(tmp_path / "s.tar", members).read_bytes()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def address(server: Server, name: str = "s.tar") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/{name}"


def test_a_stream_is_one_answer_and_a_sample_one_range(server: Server, tmp_path: Path) -> None:
    streamed = list(iterate_shard(address(server)))
    assert [one.texts for one in streamed if isinstance(one, RawSample)] == [(f"text {n}",) for n in range(5)]
    WebDatasetReader(address(server), index=tmp_path / "indexes")
    server.answers = 0
    reader = WebDatasetReader(address(server), index=tmp_path / "indexes")
    assert server.answers <= 2  # what the shard's size and tag are
    server.answers = 0
    assert [reader[n] for n in range(5)] == streamed
    assert server.answers == 5


def test_a_server_without_ranges_can_be_streamed_only(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    assert len(list(iterate_shard(address(server)))) == 5
    server.ranges = True
    reader = WebDatasetReader(address(server), index=tmp_path / "indexes")
    server.ranges = False
    with pytest.raises(SampleError, match="more than the range it was asked for"):
        reader[0]


def test_what_is_not_there(server: Server, tmp_path: Path) -> None:
    (entry,) = iterate_shard(address(server, "gone.tar"))
    assert isinstance(entry, Quarantined)
    assert entry.reason.startswith("unreadable shard: ")
    with pytest.raises(DataError, match=r"can't read http://127\.0\.0\.1:\d+/gone\.tar"):
        WebDatasetReader(address(server, "gone.tar"), index=tmp_path)
