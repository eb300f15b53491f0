"""A function in a process of its own."""

from __future__ import annotations

import operator
import signal
import subprocess
import sys

import pytest

from frametx.errors import FrametxError
from frametx.fresh_process import in_fresh_process


def test_what_the_function_returns_comes_back():
    assert in_fresh_process(operator.add, "a", "b") == "ab"


def test_a_function_that_fails_is_no_lack_of_memory():
    """Its traceback was printed, so the error points there."""
    with pytest.raises(FrametxError, match="measuring 1 0 ended with exit code 1") as failed:
        in_fresh_process(operator.truediv, 1, 0)
    assert failed.value.hint == "what it printed above says why"


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
def test_a_process_that_was_killed_ran_out_of_memory():
    """That is what the kernel does to one that takes more than there is."""
    with pytest.raises(FrametxError) as failed:
        in_fresh_process(signal.raise_signal, signal.SIGKILL)
    assert "memory" in failed.value.hint


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
def test_the_process_ends_with_the_one_that_waits_for_it():
    """Whoever ends a measurement finds the machine free: no process is left that could write."""
    forever = "print('begun', flush=True); import signal; signal.pause()"
    code = f"from frametx.fresh_process import in_fresh_process; in_fresh_process(exec, {forever!r})"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout.readline() == "begun\n"
        waiting.kill()
        waiting.communicate(timeout=60)
