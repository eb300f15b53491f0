"""The package as who imports it meets it."""

from __future__ import annotations

import pydoc
import subprocess
import sys

import pytest

import frametx


@pytest.mark.parametrize("name", frametx.__all__)
def test_every_public_name_is_there_and_found(name):
    """Completion lists it, help() shows it, and so says `from frametx import *`."""
    assert getattr(frametx, name) is not None
    assert name in dir(frametx)


def test_help_shows_the_classes_and_functions():
    """Though they are imported on first use alone."""
    text = pydoc.render_doc(frametx, renderer=pydoc.plaintext)
    assert "class Separator(" in text
    assert "separate_song(path" in text


def test_importing_the_package_does_not_import_torch():
    """Nor does looking at an error of it, which `except frametx.FrametxError` does."""
    code = "import sys, frametx; frametx.FrametxError; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
