"""A client of a language server, as an editor is: opens documents and reads what is wrong with them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

WARNING = 2  # 3 and 4 are hints, such as of an anchor that nothing uses


class Found(NamedTuple):
    """A problem, with its line from 1."""

    line: int
    message: str


class LanguageServer:
    """Runs ``COMMAND --stdio``; documents lie in ``folder``, which is as far as they see."""

    def __init__(self, command: Path, folder: Path) -> None:
        self._process = subprocess.Popen([command, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._folder = folder
        self._count = 0

    def __enter__(self) -> Self:
        uri = self._folder.as_uri()
        self._send("initialize", {"processId": None, "rootUri": uri, "capabilities": {}}, ask=1)
        while self._receive().get("id") != 1:
            pass
        self._send("initialized", {})
        settings = {"yaml": {"validate": True, "schemaStore": {"enable": False}}}
        self._send("workspace/didChangeConfiguration", {"settings": settings})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def problems(self, text: str) -> list[Found]:
        """Open a document and wait for the server's word on it."""
        self._count += 1
        uri = (self._folder / f"document{self._count}.yaml").as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self._send("textDocument/didOpen", {"textDocument": document})
        while True:
            message = self._receive()
            if message.get("method") == "textDocument/publishDiagnostics" and message["params"]["uri"] == uri:
                found = message["params"]["diagnostics"]
                return [
                    Found(one["range"]["start"]["line"] + 1, one["message"])
                    for one in found
                    if one["severity"] <= WARNING
                ]

    def _send(self, method: str, params: Any, ask: int | None = None) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        self._write(message if ask is None else {**message, "id": ask})

    def _write(self, message: Any) -> None:
        body = json.dumps(message).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        length = 0
        while line := self._process.stdout.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        if not length:
            raise EOFError("the language server has ended")
        message = json.loads(self._process.stdout.read(length))
        if "id" in message and "method" in message:  # it asks for settings of the editor
            settings = [None] * len(message["params"].get("items", [])) if "params" in message else None
            self._write({"jsonrpc": "2.0", "id": message["id"], "result": settings})
        return message
