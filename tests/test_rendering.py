"""Redoing sections of finished songs: what changes, what stays to the bit, and what is refused with nothing touched."""

from __future__ import annotations

import errno
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from frametx import Separator
from frametx.edit_list import Section
from frametx.edit_list_file import read_edit_list
from frametx.errors import AudioError, EditListError, FrametxError, UsageError
from frametx.finished_song import open_edits
from frametx.naming import Naming
from frametx.outputs import OutputOptions, Stem
from frametx.rendering import redo_sections, render, undo
from frametx.songs import SongFile
from frametx.splice import SEARCH_SECONDS
from tests.stand_in import StandIn

RATE = 44_100
VOCALS, INSTRUMENTAL = Stem.VOCALS, Stem.INSTRUMENTAL


class Blur(StandIn):
    """A stand-in for a network: the louder a bin has been for some frames around, the more of it is vocals."""

    def __init__(self, gain: float) -> None:
        super().__init__(in_channels=2, out_channels=2, n_fft=256)
        self.gain = gain

    def logits(self, x):
        around = torch.nn.functional.avg_pool2d(x, (31, 1), stride=1, padding=(15, 0), count_include_pad=False)
        return self.gain * (0.05 - around)


def blur_separator(checkpoint, gain: float) -> Separator:
    separator = Separator(checkpoint, device="cpu", precision="fp32")
    separator.maskers[0].network = Blur(gain)
    return separator


@pytest.fixture(scope="module")
def base_separator(tiny_checkpoint):
    return blur_separator(tiny_checkpoint, 20.0)


@pytest.fixture(scope="module")
def separators(tiny_checkpoint):
    """Opens another model, whatever the section asks for."""
    separator = blur_separator(tiny_checkpoint, 90.0)
    return lambda _section: separator


@pytest.fixture(scope="module")
def finished_template(base_separator, tmp_path_factory):
    """Stems of five seconds of tones and noise, made once."""
    folder = tmp_path_factory.mktemp("finished")
    time = np.arange(5 * RATE) / RATE
    rng = np.random.default_rng(5)
    mix = 0.3 * np.stack([np.sin(2 * np.pi * 440 * time), np.sin(2 * np.pi * 220 * time)])
    mix += 0.05 * rng.standard_normal(mix.shape)
    soundfile.write(folder / "song.flac", mix.T, RATE)
    base_separator.separate_file(folder / "song.flac", folder / "stems")
    return folder


@pytest.fixture
def finished(finished_template, tmp_path):
    """A song and its finished stems, in a folder of one's own."""
    shutil.copytree(finished_template, tmp_path, dirs_exist_ok=True)
    return tmp_path


def section(start: float, end: float, **values) -> Section:
    return Section(start_seconds=start, end_seconds=end, models=("other",), **values)


def stems_of(folder) -> dict[Stem, np.ndarray]:
    """What the stems hold, as 16-bit integers `[c n]`."""
    return {
        stem: soundfile.read(folder / "stems" / f"song_{stem.label}.flac", dtype="int16")[0].T.astype(int)
        for stem in Stem
    }


def mix_of(folder) -> np.ndarray:
    return soundfile.read(folder / "song.flac", dtype="int16")[0].T.astype(int)


def bytes_of(folder) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def redo(folder, separators, *sections):
    return redo_sections(open_edits(folder / "song.flac", folder / "stems"), sections, separators)


def test_outside_the_section_every_sample_stays(finished, separators):
    """Beyond the fades, which lie within half a second of the borders, both stems are what they were."""
    before = stems_of(finished)
    rendered = redo(finished, separators, section(2.0, 3.0))
    after = stems_of(finished)
    touched = rendered.splices[0].touched
    assert (2.0 - SEARCH_SECONDS) * RATE <= touched.start < 2.0 * RATE
    assert 3.0 * RATE < touched.stop <= (3.0 + SEARCH_SECONDS) * RATE
    for stem in Stem:
        np.testing.assert_array_equal(after[stem][:, : touched.start], before[stem][:, : touched.start])
        np.testing.assert_array_equal(after[stem][:, touched.stop :], before[stem][:, touched.stop :])
        assert (after[stem][:, 2 * RATE : 3 * RATE] != before[stem][:, 2 * RATE : 3 * RATE]).any()


def test_the_stems_still_sum_to_the_song(finished, separators):
    """Instrumental + vocals is the song's integer at every sample, fades included."""
    redo(finished, separators, section(1.0, 2.0), section(3.5, 5.0))
    stems = stems_of(finished)
    np.testing.assert_array_equal(stems[VOCALS] + stems[INSTRUMENTAL], mix_of(finished))


def test_a_section_is_what_the_other_model_says_of_the_whole_song(finished, separators):
    """With context around it and the whole song's peak, a section equals that part of a run over the whole song."""
    redo(finished, separators, section(2.0, 3.0))
    whole = separators(None).separate_file(finished / "song.flac", finished / "whole")
    expected = soundfile.read(whole.stems[VOCALS].path, dtype="int16")[0].T.astype(int)
    inside = slice(2 * RATE, 3 * RATE)
    difference = np.abs(stems_of(finished)[VOCALS][:, inside] - expected[:, inside])
    assert difference.max() <= 1


def test_splices_make_no_jump(finished, separators):
    """Around a fade no step from sample to sample is larger than three times the largest step nearby."""
    rendered = redo(finished, separators, section(1.5, 3.0))
    stems = stems_of(finished)
    for fade in (rendered.splices[0].fade_in, rendered.splices[0].fade_out):
        for samples in stems.values():
            steps = np.abs(np.diff(samples))
            nearby = max(
                steps[:, fade.start - 4000 : fade.start - 10].max(), steps[:, fade.stop + 10 : fade.stop + 4000].max()
            )
            assert steps[:, fade.start - 10 : fade.stop + 10].max() <= 3 * nearby


def test_a_section_at_the_songs_beginning_and_end_has_no_fade_there(finished, separators):
    """From the first to the last sample there is nothing to fade from or to: all of the stem is new."""
    whole = separators(None).separate_file(finished / "song.flac", finished / "whole")
    redo(finished, separators, section(0.0, 5.0))
    expected = soundfile.read(whole.stems[VOCALS].path, dtype="int16")[0].T
    np.testing.assert_array_equal(stems_of(finished)[VOCALS], expected)


def test_undo_restores_the_stems_to_the_byte(finished, separators):
    """The last section goes first; with none left the stems are the files they were before."""
    original = bytes_of(finished / "stems")
    redo(finished, separators, section(1.0, 2.0))
    one = stems_of(finished)
    redo(finished, separators, section(3.0, 4.0))
    edits = open_edits(finished / "song.flac", finished / "stems")
    assert undo(edits, refuse).n_separated == 0
    for stem in Stem:
        np.testing.assert_array_equal(stems_of(finished)[stem], one[stem])
    undone = undo(open_edits(finished / "song.flac", finished / "stems"), refuse)
    assert undone.edits.sections == ()
    for name in ("song_Vocals.flac", "song_Instrumental.flac"):
        assert (finished / "stems" / name).read_bytes() == original[name]
    with pytest.raises(EditListError, match="no section to undo"):
        undo(undone.edits, refuse)


def refuse(section):
    raise AssertionError(f"no model is needed for {section}")


def test_rendering_gives_the_same_stems_bit_for_bit(finished, separators):
    """From the list alone, with every section separated again, the stems are the same integers."""
    redo(finished, separators, section(1.0, 2.0))
    redo(finished, separators, section(1.5, 3.5))
    made = stems_of(finished)
    for stem in Stem:
        (finished / "stems" / f"song_{stem.label}.flac").unlink()
    rendered = render(read_edit_list(finished / "stems" / "song.frametx.toml"), separators, fresh=True)
    assert rendered.n_separated == 2
    for stem in Stem:
        np.testing.assert_array_equal(stems_of(finished)[stem], made[stem])


def test_a_list_edited_by_hand_is_rendered(finished, separators):
    """A section moved in the file is separated again; the others need no model."""
    redo(finished, separators, section(1.0, 1.5))
    path = redo(finished, separators, section(3.0, 3.5)).edits.path
    path.write_text("# mine\n" + path.read_text().replace('"0:03.5"', '"0:04"'))
    rendered = render(read_edit_list(path), separators)
    assert rendered.n_separated == 1
    assert rendered.splices[1].touched.stop > 4 * RATE
    assert path.read_text().startswith("# mine\n")
    assert len(list((finished / "stems" / "song.frametx").glob("section_*.wav"))) == 2


def test_kept_vocals_that_were_cut_short_are_made_again(finished, separators):
    """A file that a full disk or a sync broke is not spliced in."""
    edits = redo(finished, separators, section(1.0, 2.0)).edits
    once = stems_of(finished)
    (kept,) = (finished / "stems" / "song.frametx").glob("section_*.wav")
    kept.write_bytes(kept.read_bytes()[:-40_000])
    assert render(read_edit_list(edits.path), separators).n_separated == 1
    for stem, samples in stems_of(finished).items():
        np.testing.assert_array_equal(samples, once[stem])


def test_times_finer_than_thousandths_are_rendered_alike_twice(finished, separators):
    """The list is rewritten in thousandths; the vocals kept for it lie where that says."""
    path = redo(finished, separators, section(1.0, 1.5)).edits.path
    path.write_text(path.read_text().replace('"0:01"', "1.0004").replace('"0:01.5"', "1.5004"))
    render(read_edit_list(path), separators)
    once = bytes_of(finished / "stems")
    render(read_edit_list(path), separators)
    assert bytes_of(finished / "stems") == once


def test_tags_stay(finished, separators):
    """What the stems said about themselves they still say."""
    from frametx.audio.tags import read_tags

    path = finished / "stems" / "song_Vocals.flac"
    before = read_tags(path)
    redo(finished, separators, section(1.0, 2.0))
    assert read_tags(path).fields == before.fields != {}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ([(6.0, 7.0)], "begins after the song's end at 0:05"),
        ([(4.0, 9.0)], "ends after the song's end at 0:05"),
        ([(3.0, 3.0)], "not after its beginning"),
        ([(1.0, 2.0), (1.9, 3.0)], "overlap"),
    ],
)
def test_ranges_that_cannot_be_meant_are_refused(finished, sections, message):
    """Past the end, empty, overlapping: a message that says which, and no file is touched."""
    before = bytes_of(finished)
    with pytest.raises(UsageError, match=message):
        redo(finished, refuse, *(section(*times) for times in sections))
    assert bytes_of(finished) == before


def other_song(finished):
    samples = np.random.default_rng(1).standard_normal((5 * RATE, 2)) * 0.1
    soundfile.write(finished / "song.flac", samples, RATE)


def shorter_song(finished):
    soundfile.write(finished / "song.flac", np.zeros((RATE, 2)), RATE)


def other_rate(finished):
    soundfile.write(finished / "song.flac", np.zeros((5 * RATE, 2)), 48_000)


def one_stem_gone(finished):
    (finished / "stems" / "song_Vocals.flac").unlink()


def lossy_stems(finished):
    for stem in Stem:
        path = finished / "stems" / f"song_{stem.label}.flac"
        samples, rate = soundfile.read(path)
        soundfile.write(path.with_suffix(".ogg"), samples, rate)
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_song, "do not add up to"),
        (shorter_song, "differ in length"),
        (other_rate, "at 48000 Hz"),
        (one_stem_gone, "does not hold both stems"),
        (lossy_stems, "a lossy format"),
    ],
)
def test_stems_that_are_not_the_songs_are_refused(finished, separators, spoil, message):
    """Another song, a missing stem, lossy stems: a message, and no file is touched or left behind."""
    spoil(finished)
    before = bytes_of(finished)
    with pytest.raises(FrametxError, match=message):
        redo(finished, separators, section(1.0, 2.0))
    assert bytes_of(finished) == before


def change_song(finished):
    other_song(finished)


def change_stem(finished):
    shutil.copy(finished / "stems" / "song_Vocals.flac", finished / "stems" / "song_Instrumental.flac")


def remove_stem(finished):
    (finished / "stems" / "song_Vocals.flac").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change_song, "is not the song"),
        (change_stem, "was changed since"),
        (remove_stem, "is missing"),
    ],
)
def test_files_changed_since_the_last_redo_are_noticed(finished, separators, spoil, message):
    """The edit list knows its files by their digests; another file in their place stops the redo."""
    redo(finished, separators, section(1.0, 2.0))
    spoil(finished)
    before = bytes_of(finished)
    with pytest.raises(EditListError, match=message):
        redo(finished, refuse, section(3.0, 4.0))
    assert bytes_of(finished) == before


def test_a_missing_or_changed_base_is_noticed(finished, separators):
    """Without the base stems nothing can be rendered, and nothing is."""
    edits = redo(finished, separators, section(1.0, 2.0)).edits
    (finished / "stems" / "song.frametx" / "base_Vocals.flac").unlink()
    with pytest.raises(EditListError, match=r"the base stem .* is missing"):
        render(edits, separators)


def test_another_checkpoint_of_the_same_name_is_noticed(finished, separators):
    """A section is made again with the checkpoint it was made with, or not at all."""
    edits = redo(finished, separators, section(1.0, 2.0)).edits
    name = next(iter(edits.sections[0].checkpoints))
    changed = replace(edits.sections[0], checkpoints={name: "0" * 64})
    with pytest.raises(EditListError, match="another checkpoint"):
        render(edits.with_sections((changed,)), separators)


def test_a_failing_disk_leaves_the_stems_alone(finished, separators, monkeypatch):
    """When new stems cannot be written, the old ones, and nothing else, are there."""
    before = bytes_of(finished)

    def fail(*_arguments, **_options):
        raise AudioError("the disk is full")

    monkeypatch.setattr("frametx.rendering.rewrite_stems", fail)
    with pytest.raises(AudioError, match="full"):
        redo(finished, separators, section(1.0, 2.0))
    assert bytes_of(finished) == before


def test_an_edit_list_that_cannot_be_written_leaves_the_stems_alone(finished, separators):
    """The stems change only once the list can say how to take that back."""
    before = bytes_of(finished / "stems")

    def list_in_the_way(section):
        (finished / "stems" / "song.frametx.toml").mkdir()
        return separators(section)

    with pytest.raises(FrametxError, match=r"song\.frametx\.toml"):
        redo(finished, list_in_the_way, section(1.0, 2.0))
    assert {name: bytes_of(finished / "stems")[name] for name in before} == before


def test_a_stem_that_cannot_be_replaced_is_made_by_rendering_the_list(finished, separators, monkeypatch):
    """With one stem new and the other old nothing is lost: rendering makes both, and undoing takes all back."""
    before = bytes_of(finished / "stems")
    rename = Path.replace

    def in_use(path, target):
        if Path(target).name == "song_Vocals.flac":
            raise PermissionError(errno.EACCES, "in use", str(target))
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", in_use)
        with pytest.raises(AudioError, match=r"song_Vocals\.flac cannot be replaced: in use") as caught:
            redo(finished, separators, section(1.0, 2.0))
    path = finished / "stems" / "song.frametx.toml"
    assert f"frametx render {path}" in caught.value.hint
    render(read_edit_list(path), refuse)
    stems = stems_of(finished)
    np.testing.assert_array_equal(stems[VOCALS] + stems[INSTRUMENTAL], mix_of(finished))
    undo(open_edits(finished / "song.flac", finished / "stems"), refuse)
    assert {name: bytes_of(finished / "stems")[name] for name in before} == before


def test_a_second_redo_at_the_same_time_is_refused_and_harms_nothing(finished, separators):
    """The one that is at work finishes as if the other had not come."""

    def meanwhile(section_):
        with pytest.raises(EditListError, match="another frametx is at work"):
            redo(finished, separators, section(3.0, 4.0))
        return separators(section_)

    redo(finished, meanwhile, section(1.0, 2.0))
    assert len(open_edits(finished / "song.flac", finished / "stems").sections) == 1


def test_two_redos_that_begin_in_the_same_moment_lose_no_section(finished, separators):
    """The one that comes too late is told to begin again, and nothing that the other has made is touched."""
    late = open_edits(finished / "song.flac", finished / "stems")
    redo(finished, separators, section(1.0, 2.0))
    before = bytes_of(finished)
    with pytest.raises(EditListError, match="changed since it was read"):
        redo_sections(late, [section(3.0, 4.0)], refuse)
    assert bytes_of(finished) == before
    redo(finished, separators, section(3.0, 4.0))
    assert len(open_edits(finished / "song.flac", finished / "stems").sections) == 2


def test_base_stems_of_a_list_that_was_taken_away_stay_when_a_redo_fails(finished, separators):
    """A redo that comes to nothing removes what it made itself, and nothing else."""
    redo(finished, separators, section(1.0, 2.0)).edits.path.unlink()
    before = bytes_of(finished)
    other_song(finished)
    with pytest.raises(AudioError, match="do not add up"):
        redo(finished, separators, section(1.0, 2.0))
    folder = "stems/song.frametx/"
    kept = [name for name in before if name.startswith(folder + "base_")]
    assert len(kept) == 2
    assert {name: bytes_of(finished)[name] for name in kept} == {name: before[name] for name in kept}


def test_restart_begins_with_the_stems_as_they_are(finished, separators):
    """Stems changed by other programs can be taken as the new base."""
    redo(finished, separators, section(1.0, 2.0))
    made = stems_of(finished)
    edits = open_edits(finished / "song.flac", finished / "stems", restart=True)
    assert edits.sections == ()
    rendered = redo_sections(edits, [section(3.0, 4.0)], separators)
    assert len(rendered.edits.sections) == 1
    undo(rendered.edits, refuse)
    for stem in Stem:
        np.testing.assert_array_equal(stems_of(finished)[stem], made[stem])


def test_restart_forgets_a_list_that_cannot_be_read(finished, separators):
    """What is wrong with it is no concern of one who begins anew."""
    path = redo(finished, separators, section(1.0, 2.0)).edits.path
    path.write_text(path.read_text() + "[[section]\n")
    edits = open_edits(finished / "song.flac", finished / "stems", restart=True)
    redo_sections(edits, [section(3.0, 4.0)], separators)
    assert len(read_edit_list(path).sections) == 1


def test_songs_of_one_file_name_keep_their_edits_in_one_folder(finished, separators):
    """Stems told apart by --name have an edit list and base stems each, whichever song is redone first or anew."""
    folder, songs = finished / "stems", [finished / album / "01.flac" for album in "ab"]
    for song in songs:
        song.parent.mkdir()
        shutil.copy(finished / "song.flac", song)
        for stem in Stem:
            shutil.copy(folder / f"song_{stem.label}.flac", folder / f"{song.parent.name} 01 {stem.label}.flac")
    soundfile.write(
        songs[1], mix_of(finished).astype(np.int16).T, RATE, compression_level=0.0
    )  # the same in another file
    before = bytes_of(folder)
    name = "{dir} {track} {stem}"
    for song in songs:
        redo_sections(open_edits(song, folder, name=name), [section(1.0, 2.0)], separators)
    again = open_edits(songs[1], folder, name=name, restart=True)
    redo_sections(again, [section(3.0, 4.0)], separators)
    undo(open_edits(songs[1], folder, name=name), refuse)
    undo(open_edits(songs[0], folder, name=name), refuse)
    assert bytes_of(folder)["a 01 Vocals.flac"] == before["a 01 Vocals.flac"]
    assert bytes_of(folder)["b 01 Vocals.flac"] != before["b 01 Vocals.flac"]  # its base is what was there at --restart


def test_the_name_says_which_stems_of_a_song_are_redone(finished, separators):
    """Stems of two models side by side: those that --name says change, whichever have an edit list already."""
    folder = finished / "stems"
    for stem in Stem:
        for model in ("v8", "v10"):
            shutil.copy(folder / f"song_{stem.label}.flac", folder / f"song_{stem.label}_{model}.flac")
    before = bytes_of(folder)
    song = finished / "song.flac"
    redo_sections(open_edits(song, folder, name="{track}_{stem}_v8"), [section(1.0, 2.0)], separators)
    between = bytes_of(folder)
    redo_sections(open_edits(song, folder, name="{track}_{stem}_v10"), [section(3.0, 4.0)], separators)
    after = bytes_of(folder)
    assert after["song_Vocals_v8.flac"] == between["song_Vocals_v8.flac"] != before["song_Vocals_v8.flac"]
    assert after["song_Vocals_v10.flac"] != before["song_Vocals_v10.flac"]
    assert after["song_Vocals.flac"] == before["song_Vocals.flac"]


@pytest.mark.parametrize("track", ["x" * 240, "x" * 250, "caf\udce9"], ids=["240 bytes", "250 bytes", "no UTF-8"])
def test_a_song_of_any_name_can_be_redone(finished, separators, track):
    """As long as a file system takes, and whatever its bytes: the stems change, and undoing gives them back."""
    folder, song = finished / "stems", finished / f"{track}.flac"
    try:
        (finished / "song.flac").rename(song)
    except OSError:
        pytest.skip("this file system has no such names")
    for stem, target in Naming().targets(SongFile(path=song), folder, Stem, "flac").items():
        (folder / f"song_{stem.label}.flac").rename(target)
    before = bytes_of(folder)
    redo_sections(open_edits(song, folder), [section(1.0, 2.0)], separators)
    assert all(bytes_of(folder)[name] != stem for name, stem in before.items())
    undo(open_edits(song, folder), refuse)
    assert {name: bytes_of(folder)[name] for name in before} == before


def loud_song(folder):
    """A song far over full scale, cut there."""
    mix, rate = soundfile.read(folder / "song.flac")
    soundfile.write(folder / "song.flac", np.clip(8 * mix, -1, 1), rate)


def test_a_song_so_loud_that_its_stems_clip_can_be_redone(finished, base_separator, separators):
    """Where a stem was cut at full scale the two don't add up to the song, and yet they are its own; new cuts are said."""
    loud_song(finished)
    base_separator.separate_file(finished / "song.flac", finished / "stems", OutputOptions(overwrite=True))
    before = stems_of(finished)
    rendered = redo(finished, separators, section(2.0, 3.0))
    touched = rendered.splices[0].touched
    after = stems_of(finished)
    for stem in Stem:
        assert (after[stem] != before[stem]).any()
        np.testing.assert_array_equal(after[stem][:, : touched.start], before[stem][:, : touched.start])
    assert any("were clipped in flac" in note for note in rendered.notes)
    cut = np.any([(samples == -(2**15)) | (samples == 2**15 - 1) for samples in after.values()], axis=0)
    assert cut.any()
    np.testing.assert_array_equal((after[VOCALS] + after[INSTRUMENTAL])[~cut], mix_of(finished)[~cut])


def test_stems_that_clip_are_still_told_from_those_of_another_song(finished, base_separator, separators):
    """What is below full scale decides."""
    other = mix_of(finished)
    loud_song(finished)
    base_separator.separate_file(finished / "song.flac", finished / "stems", OutputOptions(overwrite=True))
    soundfile.write(finished / "song.flac", other.astype(np.int16).T, RATE)
    with pytest.raises(AudioError, match="do not add up to"):
        redo(finished, separators, section(2.0, 3.0))


@pytest.mark.parametrize(("format_", "depth"), [("wav", "float"), ("wav", 24), ("flac", 24)])
def test_other_formats_keep_their_samples_too(finished, base_separator, separators, format_, depth):
    """Float and 24-bit stems change in the section alone, and still sum to the song."""
    options = OutputOptions(format=format_, bit_depth=depth)
    base_separator.separate_file(finished / "song.flac", finished / "deep", options)
    paths = {stem: finished / "deep" / f"song_{stem.label}.{format_}" for stem in Stem}
    before = {stem: soundfile.read(path)[0].T for stem, path in paths.items()}
    edits = open_edits(finished / "song.flac", finished / "deep")
    touched = redo_sections(edits, [section(2.0, 2.5)], separators).splices[0].touched
    after = {stem: soundfile.read(path)[0].T for stem, path in paths.items()}
    for stem in Stem:
        np.testing.assert_array_equal(after[stem][:, : touched.start], before[stem][:, : touched.start])
        np.testing.assert_array_equal(after[stem][:, touched.stop :], before[stem][:, touched.stop :])
        assert (after[stem] != before[stem]).any()
    mix = soundfile.read(finished / "song.flac")[0].T
    np.testing.assert_allclose(after[VOCALS] + after[INSTRUMENTAL], mix, atol=1e-7)
