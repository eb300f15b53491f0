"""What people type who come from other separators is explained, not only refused."""

from __future__ import annotations

import re

import pytest
import typer

from frametx.cli.app import app
from frametx.cli.habits import OPTIONS


@pytest.mark.parametrize(
    ("arguments", "way_out"),
    [
        (["song.flac", "--mp3"], "frametx separate song.flac"),
        (["separate", "song.flac", "--two-stems=vocals"], "--stems vocals"),
        (["separate", "song.flac", "--output_dir", "out"], "-o FOLDER"),
        (["separate", "-n", "htdemucs", "song.flac"], "-m NAME"),
        (["--list_models"], "frametx models list"),
        (["models", "pull", "v10"], "models fetch"),
        (["models", "rm", "v10"], "models remove"),
        (["version"], "frametx --version"),
        (["separate", "-2.flac"], "separate -- -2.flac"),
    ],
)
def test_what_other_programs_take_is_explained(frametx, song, tmp_path, arguments, way_out):
    """Exit code 2, what is wrong, and what to type instead."""
    (tmp_path / "-2.flac").write_bytes(song.read_bytes())
    outcome = frametx(*arguments)
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert way_out in outcome.err.partition("hint: ")[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["seperate", "x"], "separate"), (["separate", "--compt"], "--compat"), (["models", "verfy"], "verify")],
)
def test_misspellings_are_still_suggested(frametx, arguments, message):
    """What no other program has goes to the suggestions by likeness."""
    outcome = frametx(*arguments)
    assert outcome.code == 2
    assert message in outcome.err.replace("'", "")


def test_the_advice_is_true():
    """Every option that is advised exists, and none that is explained away does."""
    separate = typer.main.get_command(app).commands["separate"]
    there = {name for option in separate.params for name in option.opts} | {"--version"}
    advised = {
        word for hint in OPTIONS.values() for word in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", hint, re.IGNORECASE)
    }
    assert advised <= there
    assert not there & OPTIONS.keys()
