"""Errors that leave the process they were raised in."""

from __future__ import annotations

import pickle

import pytest

from frametx.errors import AudioError, FrametxError, QuotaExceeded


@pytest.mark.parametrize("error", [AudioError("no song", "name one"), QuotaExceeded("used up", 3600.0, "wait")])
def test_an_error_comes_whole_out_of_another_process(error: FrametxError):
    """One that cannot be unpickled breaks the pool of processes that should have raised it."""
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
