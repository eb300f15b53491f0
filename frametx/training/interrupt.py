"""Ctrl-C during a training: the step at hand is finished and kept."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType


class Interrupt:
    """While it is entered, the first Ctrl-C is only noted; a second one interrupts as always.

    In threads other than the main one, where no handler can be set, it notes nothing.

    Attributes:
        asked: Whether somebody asked for an end.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> Self:
        ignored = not callable(signal.getsignal(signal.SIGINT))  # as in the background of a script
        if threading.current_thread() is threading.main_thread() and not ignored:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, _: int, __: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, self._before)
