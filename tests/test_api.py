"""The package as who imports it meets it."""

from __future__ import annotations

import pydoc
import shutil
import subprocess
import sys
from typing import get_args, get_type_hints

import numpy as np
import pytest
import soundfile

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


@pytest.fixture
def song(tmp_path):
    """A fifteenth of a second of noise."""
    path = tmp_path / "song.wav"
    soundfile.write(path, np.random.default_rng(0).standard_normal((3000, 2)) * 0.1, 44_100)
    return path


@pytest.fixture(scope="module")
def separator(tiny_checkpoint):
    return frametx.Separator(tiny_checkpoint, device="cpu", precision="fp32")


def test_stems_go_by_plain_words_too(separator, song, tmp_path):
    """As keys of paths, which may be text, and in the options; as they do in what comes back."""
    result = separator.separate_file(song, {"vocals": str(tmp_path / "voice.flac")})
    assert result.stems["vocals"].path == tmp_path / "voice.flac"
    result = separator.separate_file(song, tmp_path / "out", frametx.OutputOptions(stems=("instrumental",)))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["song_Instrumental.flac"]


@pytest.mark.parametrize("hints", [(frametx.Result, "stems"), (frametx.Separator.separate_array, "return")])
def test_stems_go_by_plain_words_for_type_checkers_too(hints):
    """`result.stems["vocals"]`, as the README writes it, is no error in a strictly typed program."""
    owner, name = hints
    assert get_args(get_type_hints(owner)[name])[0] is str


@pytest.mark.parametrize(
    ("output", "stems"), [({}, ()), ("out", ()), ("out", ("drums",)), ({"drums": "drums.flac"}, ("vocals",))]
)
def test_stems_that_there_are_not_are_refused(separator, song, tmp_path, monkeypatch, output, stems):
    """Before any work, and by name."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(frametx.FrametxError, match="drums" if "drums" in (*output, *stems) else "no stem"):
        separator.separate_file(song, output, frametx.OutputOptions(stems=stems))
    assert list(tmp_path.iterdir()) == [song]


def test_networks_may_be_compiled(tiny_checkpoint):
    """`network.compile()` is what torch offers for that, and its result is what runs."""
    mix = np.random.default_rng(0).standard_normal((2, 3000)).astype(np.float32) * 0.1
    separator = frametx.Separator(tiny_checkpoint, device="cpu", precision="fp32")
    expected = separator.separate_array(mix)
    seen = []

    def backend(graph, inputs):
        seen.append(graph)
        return graph.forward

    for network in separator.networks:
        network.compile(backend=backend)
    np.testing.assert_allclose(separator.separate_array(mix)["vocals"], expected["vocals"], atol=1e-6)
    assert seen


def test_rules_go_by_plain_words_too(tiny_checkpoint, tmp_path):
    """`mean` takes weights however it is written, and what is no rule is refused at once."""
    other = shutil.copy(tiny_checkpoint, tmp_path / "other.pth")
    windows = frametx.WindowOptions(rule="mean", weights=(1.0, 0.0))
    both = frametx.Separator([tiny_checkpoint, other], device="cpu", precision="fp32", windows=windows)
    assert both.separate_array(np.ones((1, 500)))["vocals"].shape == (1, 500)
    with pytest.raises(frametx.FrametxError, match="'least' is no rule"):
        frametx.WindowOptions(rule="least")
