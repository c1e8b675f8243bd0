"""How commands print results: lines for people on a terminal, JSON for programs, progress beside them."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmtk.printable import printable, printable_lines


def note(text: str) -> None:
    """Say something beside the results, on the standard error output."""
    print(f"mmtk: {printable_lines(text)}", file=sys.stderr)


class Results:
    """Prints results one by one, as they come.

    Attributes:
        failed: how many of them are errors.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.failed = 0

    def add(self, record: Mapping[str, Any], line: str) -> None:
        """Print a result: ``record`` as a JSON object, or ``line`` for people."""
        print(_json_line(record) if self._as_json else printable(line), flush=True)

    def add_error(self, record: Mapping[str, Any], error: str) -> None:
        """Print why there is no result for what ``record`` names."""
        self.failed += 1
        self.add({**record, "error": error}, f"{': '.join(map(str, record.values()))}: {error}")

    @property
    def exit_code(self) -> int:
        return 1 if self.failed else 0


def _json_line(record: Mapping[str, Any]) -> str:
    """JSON in which what would act on a terminal is spelt out, and other letters are not."""
    text = json.dumps(record, ensure_ascii=False)
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


@contextlib.contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar on the standard error output if that is a terminal; what is given moves it on by one."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Lines that share the terminal with the bar go around it; those that go elsewhere must not come here.
    shared = sys.stdout.isatty()
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=shared)
    with bar:
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)
