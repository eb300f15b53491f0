"""What can go wrong in a way that a person can do something about.

Every error here is shown by the command line as `error: message` and `hint: hint`. Anything else that escapes is a bug
and keeps its traceback. Exceptions of libraries are translated where the library is called, with `raise ... from`.
"""

from __future__ import annotations

from typing import Any

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class FrametxError(Exception):
    """Base of all expected errors.

    Args:
        message: One sentence naming the thing, what was expected and what is there.
        hint: The way out, if there is one.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def reason_of(error: BaseException) -> str:
    """Return what the system says went wrong ("No space left on device"), without number and path; else the first line."""
    return getattr(error, "strerror", None) or str(error).partition("\n")[0]


class UsageError(FrametxError):
    """Options that contradict each other or a value that cannot be meant; exit code 2."""


class AudioError(FrametxError):
    """A file that cannot be read or written as audio."""


class ManifestError(FrametxError):
    """A models.toml that says something wrong."""


class SnapshotMissing(FrametxError):
    """A snapshot that is not on this machine (and may not be fetched now)."""


class DownloadError(FrametxError):
    """A download that failed for good."""


class QuotaExceeded(DownloadError):
    """The host wants us to wait longer than a person would.

    Args:
        message: What happened.
        wait_seconds: How long the host asks to wait, in seconds.
        hint: The way out.
    """

    def __init__(self, message: str, wait_seconds: float, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.wait_seconds = wait_seconds

    def __reduce__(self) -> tuple[Any, ...]:
        """Exceptions are pickled by their message alone, which is too little to make this one again."""
        return type(self), (self.message, self.wait_seconds, self.hint)


class CheckpointError(FrametxError):
    """A checkpoint file that cannot be read or does not fit a known architecture."""


class ModelLimitError(FrametxError):
    """A window that a network cannot take (too wide, or of the wrong width)."""


class DeviceError(FrametxError):
    """A device or precision that this machine does not have."""


class TrainingError(FrametxError):
    """A training that cannot start or must stop."""


class EditListError(FrametxError):
    """An edit list that says something wrong, or no longer fits the files it speaks of."""
