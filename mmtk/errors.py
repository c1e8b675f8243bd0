"""Errors that a user can cause. The command line prints them as one message, without a traceback."""

from mmtk.printable import brief


class MmtkError(Exception):
    """Base of every error whose message is meant for the user.

    Attributes:
        exit_code: the command line's.
        on_all_ranks: whether every rank of the run raises it; rank 0 then says it.
    """

    exit_code = 2
    on_all_ranks = False


class RecipeError(MmtkError):
    """A recipe that can't be run: unknown name or key, wrong type, missing file, broken reference."""


class PluginError(MmtkError):
    """A plugin that can't be loaded, or a component that two plugins claim."""


class DataError(MmtkError):
    """A dataset that can't be read at all. One unreadable sample is quarantined instead."""


class CheckpointError(MmtkError):
    """A checkpoint that is missing, damaged or doesn't fit the model."""


class StageError(MmtkError):
    """A stage that can't run, or that broke its promise about its outputs."""


class LostContactError(StageError):
    """Another rank of the run has gone, or was never there. What has ended it is not known here."""

    exit_code = 1


class SampleError(DataError):
    """A reader's word that one sample can't be read, with what names it in the quarantine.

    Attributes:
        reason: what is wrong; its part before the first colon names the kind of fault.
        key: the sample's key.
        location: the file it lies in.
    """

    def __init__(self, reason: str, key: str, location: str) -> None:
        super().__init__(": ".join(map(brief, (location, key, reason))))
        self.reason = reason
        self.key = key
        self.location = location


def exit_code(error: BaseException) -> int:
    """The command line's exit code behind any error: its own, 130 for a Ctrl-C as in shells, 1 for a bug."""
    code: int = getattr(error, "exit_code", 130 if isinstance(error, KeyboardInterrupt) else 1)
    return code
