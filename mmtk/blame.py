"""Names the plugin whose code fails: for what is missing in one line, for a bug below its traceback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mmtk.errors import MmtkError, PluginError


@contextlib.contextmanager
def blamed(who: str, doing: str, *, may_exit: bool = False) -> Iterator[None]:
    """Name a component or command when its code fails within.

    Args:
        who: the component or command, with its plugin and distribution.
        doing: behind ``who``, what it does within, such as "was built".
        may_exit: whether it may end the program, as a command may.

    Raises:
        PluginError: it needs a module that isn't there, or has tried to end the program and may not.
    """
    try:
        yield
    except MmtkError:
        raise
    except ImportError as error:
        raise PluginError(f"{who} {_lack(error)}") from error
    except SystemExit as error:
        if may_exit:
            raise
        raise PluginError(f"{who} tried to end the program (SystemExit: {error}) when it {doing}") from error
    except Exception as error:
        error.add_note(f"This happened when {who} {doing}.")
        raise


def _lack(error: ImportError) -> str:
    if str(error) == f"No module named {error.name!r}":
        return f"needs the module '{error.name}', which is not installed"
    return f"can't import what it needs: {error}"
