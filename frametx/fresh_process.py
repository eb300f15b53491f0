"""A function in a process of its own, so that its peak memory is its own."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

from frametx.errors import FrametxError
from frametx.process import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a fresh process and hand back what it returns.

    Args:
        function: At the top level of a module.
        arguments: Its arguments; the first two are named should the process die.

    Raises:
        FrametxError: The function raised it, or the process died.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(there, function, arguments))
    process.start()
    there.close()
    try:
        kind, value = here.recv()
    except EOFError:
        process.join()
        what = " ".join(str(argument) for argument in arguments[:2])
        killed = process.exitcode is not None and process.exitcode < 0
        raise FrametxError(
            f"measuring {what} ended with exit code {process.exitcode}",
            "the machine probably ran out of memory: measure a smaller crop"
            if killed
            else "what it printed above says why",
        ) from None
    process.join()
    if kind == "error":
        raise value
    return value


def _answer(connection: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    die_with_parent()  # nobody would read what it measures, for minutes and with gigabytes
    try:
        connection.send(("value", function(*arguments)))
    except FrametxError as error:
        connection.send(("error", error))
