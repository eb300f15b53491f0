"""The MEGA of the tests, judged by a client that others have written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.mega_world import SYSTEM_CERTIFICATES


def namespaces_work():
    """Tell whether a network of one's own can be had here."""
    command = ["unshare", "--net", "--mount", "true"]
    return bool(shutil.which("unshare")) and subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(shutil.which("megatools") is None, reason="megatools is not installed")
@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="network namespaces need root")
@pytest.mark.skipif(not SYSTEM_CERTIFICATES.exists(), reason="the system keeps its certificates elsewhere")
def test_megatools_and_frametx_agree_about_the_server(tmp_path):
    """Both fetch the same file by both link forms over TLS, both refuse a flipped bit and name an unknown file."""
    if not namespaces_work():
        pytest.skip("no network namespaces here")
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        ["unshare", "--net", "--mount", sys.executable, "-m", "tests.servers.mega_world", str(tmp_path)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    for client in ("megatools", "frametx"):
        found = results[client]
        for form in ("new form", "old form"):
            assert not found[form]["failed"], found[form]["said"]
            assert found[form]["sha256"] == results["sha256"]
        assert found["flipped bit"]["failed"]
        assert found["unknown"]["failed"]
    assert "MAC mismatch" in results["megatools"]["flipped bit"]["said"]
    assert "ENOENT" in results["megatools"]["unknown"]["said"]
    assert "does not match the code in its link" in results["frametx"]["flipped bit"]["said"]
    assert "gone from MEGA" in results["frametx"]["unknown"]["said"]
