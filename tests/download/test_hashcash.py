"""The proof of work."""

from __future__ import annotations

import pytest

from frametx.download.hashcash import solve
from frametx.errors import DownloadError
from tests.servers.mega import proof_is_good

TOKEN = "A1b-_" * 12 + "wxyz"


def test_a_proof_fits_the_rule():
    """The answer names the token and a prefix that MEGA accepts."""
    proof = solve(f"1:250:1790000000:{TOKEN}")
    assert proof.split(":")[1] == TOKEN
    assert proof_is_good(proof, 250)


@pytest.mark.parametrize(
    ("challenge", "says"),
    [
        (f"2:250:1:{TOKEN}", "cannot be read"),
        ("1:250:1:short", "cannot be read"),
        (f"1:999:1:{TOKEN}", "cannot be read"),
        (f"1:0:1:{TOKEN}", "proof of work of about 536870912 tries"),
    ],
)
def test_hopeless_challenges_are_refused_at_once(challenge, says):
    """What cannot be read or would take days is an error, not a hot processor."""
    with pytest.raises(DownloadError, match=says):
        solve(challenge)
