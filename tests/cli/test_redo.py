"""The commands of the loop: compare, redo, render, report, as a user types them."""

from __future__ import annotations

import json
import shlex
import shutil

import numpy as np
import pytest
import soundfile
import torch

from frametx.cli.console import say


def test_names_are_shown_as_they_are(capsys):
    """A name that holds the word of an emoji or of markup is no emoji and no markup."""
    say("/music/:heart: [bold]song[/bold].flac")
    assert capsys.readouterr().err == "/music/:heart: [bold]song[/bold].flac\n"


@pytest.fixture
def other_checkpoint(tiny_checkpoint, tmp_path):
    """The tiny network with its tensors negated."""
    path = tmp_path / "other.pth"
    torch.save({name: -tensor for name, tensor in torch.load(tiny_checkpoint, weights_only=True).items()}, path)
    return path


@pytest.fixture
def finished(tmp_path):
    """Half a second of noise and stems that sum to it."""
    rng = np.random.default_rng(1)
    vocals, instrumental = (rng.integers(-3000, 3000, (22_050, 2)).astype(np.int16) for _ in range(2))
    (tmp_path / "separated").mkdir()
    soundfile.write(tmp_path / "song.flac", vocals + instrumental, 44_100)
    soundfile.write(tmp_path / "separated" / "song_Vocals.flac", vocals, 44_100)
    soundfile.write(tmp_path / "separated" / "song_Instrumental.flac", instrumental, 44_100)
    return tmp_path


def test_redo_list_undo_and_render(frametx, finished, other_checkpoint):
    """A section is redone, listed, rendered from its list and taken back."""
    original = (finished / "separated" / "song_Vocals.flac").read_bytes()
    outcome = frametx("redo", "song.flac", "--section", "0:00.2-0:00.3", "-m", "other.pth", "-d", "cpu")
    assert outcome.code == 0, outcome.err
    assert "0:00.2 - 0:00.3: spliced in" in outcome.err
    assert (finished / "separated" / "song_Vocals.flac").read_bytes() != original
    listed = frametx("redo", "song.flac", "--list")
    assert "0:00.2 - 0:00.3" in listed.out
    assert str(other_checkpoint) in listed.out
    assert frametx("render", "separated/song.frametx.toml", "--fresh", "-d", "cpu").code == 0
    assert frametx("redo", "song.flac", "--undo").code == 0
    assert (finished / "separated" / "song_Vocals.flac").read_bytes() == original


def test_a_stem_or_a_song_in_the_wrong_place_is_said(frametx, finished, tiny_checkpoint):
    """`redo` wants the song and not a stem of it, `render` the list and not the song."""
    assert frametx("separate", "song.flac", "-o", "new", "-m", tiny_checkpoint, "-d", "cpu").code == 0
    outcome = frametx("redo", "new/song_Vocals.flac", "-o", "new", "--section", "0:00.2-0:00.3", "-m", tiny_checkpoint)
    assert outcome.code == 1
    assert "is a stem that frametx made" in outcome.err
    outcome = frametx("render", "song.flac")
    assert outcome.code == 2
    assert "<track>.frametx.toml" in outcome.err


def test_redo_finds_stems_by_the_name_they_were_given(frametx, finished, other_checkpoint):
    """--name takes the template of `separate`; the edit list remembers the files, so later steps do without."""
    stems = finished / "separated"
    for stem in ("Vocals", "Instrumental"):
        (stems / f"song_{stem}.flac").rename(stems / f"{stem} of song.flac")
    original = (stems / "Vocals of song.flac").read_bytes()
    name = ("--name", "{stem} of {track}")
    outcome = frametx("redo", "song.flac", *name, "--section", "0:00.2-0:00.3", "-m", other_checkpoint, "-d", "cpu")
    assert outcome.code == 0, outcome.err
    assert (stems / "Vocals of song.flac").read_bytes() != original
    assert frametx("redo", "song.flac", "--undo").code == 0
    assert (stems / "Vocals of song.flac").read_bytes() == original


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--section", "0:10"), "is no section"),
        (("--section", "0:03-0:01"), "ends before it begins"),
        (("--section", "0:01-soon"), "is no time"),
        (("--section", "0:05-0:09"), "begins after the song's end"),
        ((), "say what to redo"),
        (("--undo", "--list"), "one thing at a time"),
        (("--section", "0:00-0:00.2", "--ensemble", "best"), "is no rule"),
        (("--section", "0:00-0:00.2", "-o", "elsewhere"), "does not hold both stems"),
        (("--section", "0:00-0:00.2", "--name", "{stem} of {track}"), "separated/Vocals of song.*"),
        (("--section", "0:00-0:00.2", "--name", "{track}_{model}_{stem}"), "does not say which model"),
    ],
)
def test_what_cannot_be_meant_is_said_before_any_work(frametx, finished, tiny_checkpoint, arguments, message):
    """A message, a nonzero exit code, and no file more or less."""
    before = sorted(finished.rglob("*"))
    outcome = frametx("redo", "song.flac", "-m", tiny_checkpoint, *arguments)
    assert outcome.code in (1, 2)
    assert message in outcome.err
    assert sorted(finished.rglob("*")) == before


def test_redo_says_that_a_song_is_misspelt(frametx, finished):
    """Not that its stems are missing."""
    outcome = frametx("redo", "sogn.flac", "--section", "0:00-0:00.2")
    assert outcome.code == 1
    assert outcome.err.startswith("error: sogn.flac does not exist")


def test_compare_prints_lines_that_redo_takes(frametx, finished, tiny_checkpoint, other_checkpoint):
    """The table names both models, and the line below it can be typed as it stands."""
    models = f"{tiny_checkpoint},{other_checkpoint}"
    outcome = frametx("compare", "song.flac", "-m", models, "-d", "cpu", "-q", "-c", "64", "--precision", "fp32")
    assert outcome.code == 0, outcome.err
    assert tiny_checkpoint.name in outcome.out
    line = next(line for line in outcome.out.splitlines() if line.startswith("frametx redo"))
    assert "--crop 64 --precision fp32" in line  # what was compared is what is redone
    assert frametx(*line.split()[1:], "-d", "cpu").code == 0
    values = json.loads(frametx("compare", "song.flac", "-m", models, "-d", "cpu", "--json").out)
    assert len(values["models"]) == 2
    assert values["ranges"]


def test_silence_has_the_same_figures_as_any_song(frametx, tiny_checkpoint, other_checkpoint, tmp_path):
    """Programs that read `compare --json` find every key, the models' names among them."""
    soundfile.write(tmp_path / "silent.wav", np.zeros((20_000, 2)), 44_100)
    soundfile.write(tmp_path / "loud.wav", np.random.default_rng(0).uniform(-0.1, 0.1, (20_000, 2)), 44_100)
    both = f"{tiny_checkpoint},{other_checkpoint}"
    silent, loud = (
        json.loads(frametx("compare", f"{name}.wav", "-m", both, "--json").out) for name in ("silent", "loud")
    )
    assert silent.keys() == loud.keys()
    assert silent["models"] == loud["models"]
    assert silent["ranges"] == []


def test_compare_prints_how_the_stems_were_named(frametx, finished, tiny_checkpoint, other_checkpoint):
    """Else redo would not find them."""
    for stem in ("Vocals", "Instrumental"):
        (finished / f"separated/song_{stem}.flac").rename(finished / f"separated/song ({stem}).flac")
    models = f"{tiny_checkpoint},{other_checkpoint}"
    outcome = frametx("compare", "song.flac", "-m", models, "--name", "{track} ({stem})", "-d", "cpu", "-q")
    line = next(line for line in outcome.out.splitlines() if line.startswith("frametx redo"))
    assert frametx(*shlex.split(line)[1:], "-d", "cpu").code == 0


def test_one_model_cannot_disagree(frametx, finished):
    """The message says how to name several, and comes before the one is fetched."""
    outcome = frametx("compare", "song.flac", "-m", "v7")
    assert outcome.code == 2
    assert "takes two" in outcome.err


def test_compare_says_that_a_song_is_misspelt_before_models_are_fetched(frametx):
    """There is no network here, so a download would be the first thing to fail."""
    outcome = frametx("compare", "sogn.flac", "-m", "v7,v8")
    assert outcome.code == 1
    assert outcome.err.startswith("error: sogn.flac does not exist")


def test_report_writes_a_page_a_picture_and_figures(frametx, finished):
    """The three files lie beside the stems; --json prints the figures."""
    outcome = frametx("report", "separated", "--song", "song.flac", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["samples_not_exact"] == 0
    for kind in ("html", "png", "json"):
        assert (finished / "separated" / f"song.report.{kind}").stat().st_size > 100


def test_report_of_a_folder_goes_on_after_a_song_without_both_stems(frametx, finished):
    """The others are reported, the one is named, and the exit code is 1; the figures of several songs are one list."""
    stems = finished / "separated"
    for stem in ("Vocals", "Instrumental"):
        shutil.copy(stems / f"song_{stem}.flac", stems / f"another_{stem}.flac")
    shutil.copy(stems / "song_Vocals.flac", stems / "lonely_Vocals.flac")
    outcome = frametx("report", "separated", "--json", "--audio", "link")
    assert outcome.code == 1
    assert [one["track"] for one in json.loads(outcome.out)] == ["another", "song"]
    assert "both stems of lonely" in outcome.err
    assert sorted(path.name for path in stems.glob("*.html")) == ["another.report.html", "song.report.html"]
