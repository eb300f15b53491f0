"""Folders of songs, as their owners see it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from frametx.audio.tags import Tags, read_tags, write_tags
from frametx.video import make_video


@pytest.fixture
def library(make_song, tmp_path):
    """Three songs in a tree."""
    for number, name in enumerate(("a.wav", "x/b.flac", "x/y/c.wav")):
        (tmp_path / "music" / name).parent.mkdir(parents=True, exist_ok=True)
        make_song(tmp_path / "music" / name, seconds=0.2 + number / 10)
    return tmp_path / "music"


def stems_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("[!.]*.*") if path.is_file())


def events_of(outcome):
    return [json.loads(line) for line in outcome.out.splitlines()]


def times_of(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*_*.*")}


def test_a_tree_is_mirrored(frametx, library, tiny_checkpoint, tmp_path):
    """Every song's stems lie where the song lies, below the output."""
    outcome = frametx("separate", "music", "-r", "-m", tiny_checkpoint)
    assert outcome.code == 0, outcome.err
    assert stems_in(tmp_path / "separated") == [
        f"{name}_{stem}.flac" for name in ("a", "x/b", "x/y/c") for stem in ("Instrumental", "Vocals")
    ]
    assert "3 songs" in outcome.err


def test_a_second_run_does_nothing(frametx, library, tiny_checkpoint, tmp_path):
    """What is done with the same parameters is skipped, without a model being loaded, and its stems are named."""
    (library / ".hidden.wav").touch()
    first = events_of(frametx("separate", "music", "-r", "-m", tiny_checkpoint, "--json"))
    before = times_of(tmp_path / "separated")
    outcome = frametx("separate", "music", "-r", "-m", tiny_checkpoint, "--json")
    assert outcome.code == 0
    events = events_of(outcome)
    assert [event["event"] for event in events] == ["skipped"] * 4 + ["summary"]
    stems = {event["song"]: event["stems"] for event in events[:-1]}
    assert stems.pop(str(Path("music") / ".hidden.wav")) == {}
    assert stems == {event["song"]: event["stems"] for event in first if event["event"] == "done"}
    assert times_of(tmp_path / "separated") == before


def test_stems_in_the_songs_folder_are_not_separated_again(frametx, library, tiny_checkpoint):
    """With the output among the songs, a second run knows its own stems."""
    for _ in range(2):
        assert frametx("separate", "music", "-r", "-o", "music", "-m", tiny_checkpoint).code == 0
    assert len(stems_in(library)) == 9


def test_what_other_runs_made_is_not_separated(frametx, library, tiny_checkpoint, tmp_path):
    """Stems and videos among the songs are no songs, for runs into the same folder or another; named alone they are."""
    for _ in range(2):
        outcome = frametx("separate", "music", "-o", "music", "-m", tiny_checkpoint, "--video", "--json")
        assert outcome.code == 0, outcome.err
    outcome = frametx("separate", "music", "-r", "-o", "other", "-m", tiny_checkpoint, "--stems", "vocals")
    assert outcome.code == 0, outcome.err
    assert stems_in(tmp_path / "other") == ["a_Vocals.flac", "x/b_Vocals.flac", "x/y/c_Vocals.flac"]
    again = frametx("separate", "music/a_Vocals.flac", "-o", "other", "-m", tiny_checkpoint, "--json")
    assert events_of(again)[-1]["done"] == 1


def test_a_video_is_a_song_though_a_stem_has_its_name(frametx, song, tiny_checkpoint, tmp_path):
    """A song that is a video is found again beside an instrumental that was named after it."""
    make_video(song, song).rename(tmp_path / "clip.mp4")
    song.unlink()
    run = ("separate", ".", "-o", ".", "--name", "{track}", "--stems", "instrumental", "-m", tiny_checkpoint, "--json")
    assert [[event["event"] for event in events_of(frametx(*run))][-2] for _ in range(2)] == ["done", "skipped"]
    (tmp_path / "moved").mkdir()  # and wherever the folder goes
    for path in (tmp_path / "clip.mp4", tmp_path / "clip.flac", tmp_path / ".frametx.jsonl"):
        path.rename(tmp_path / "moved" / path.name)
    moved = frametx("separate", "moved", "-o", "moved", *run[4:])
    assert [event["event"] for event in events_of(moved)][-2] == "skipped"


def test_a_folder_of_stems_alone_is_said_to_be_that(frametx, library, tiny_checkpoint):
    """Nobody is told to look into the folders in it."""
    frametx("separate", library / "a.wav", "-m", tiny_checkpoint)
    outcome = frametx("separate", "separated", "-o", "other", "-m", tiny_checkpoint)
    assert outcome.code == 1
    assert "no songs, but 2 files that frametx made" in outcome.err


def test_a_song_that_lay_where_nobody_reaches_is_no_other_song(frametx, library, tiny_checkpoint, tmp_path):
    """The ledger may name a place that is no more, or that no file can have; what is there counts."""
    run = ("separate", library / "a.wav", "-m", tiny_checkpoint, "--json")
    frametx(*run)
    ledger = tmp_path / "separated" / ".frametx.jsonl"
    values = json.loads(ledger.read_text())
    values["song"]["path"] = f"/{'n' * 300}/a.wav"
    ledger.write_text(json.dumps(values) + "\n")
    assert [event["event"] for event in events_of(frametx(*run))] == ["skipped", "summary"]


def test_a_video_that_frametx_did_not_make_stays(frametx, song, tiny_checkpoint, tmp_path):
    """However old it is; --overwrite replaces it."""
    run = ("separate", song, "-m", tiny_checkpoint)
    frametx(*run)
    mine = tmp_path / "separated" / "song_Instrumental.mp4"
    mine.write_bytes(b"mine")
    os.utime(mine, ns=(10**18, 10**18))
    assert frametx(*run, "--video").code == 1
    assert mine.read_bytes() == b"mine"
    assert frametx(*run, "--video", "--overwrite").code == 0
    assert mine.read_bytes() != b"mine"


def test_what_changed_is_done_again_and_the_rest_is_not(frametx, library, make_song, tiny_checkpoint, tmp_path):
    """Other parameters redo everything, another song only its stems, a touched song nothing."""
    run = ("separate", "music", "-r", "-m", tiny_checkpoint, "--json")
    frametx(*run)
    (library / "a.wav").touch()
    assert [event["event"] for event in events_of(frametx(*run))].count("skipped") == 3
    make_song(library / "a.wav", seconds=0.9)
    assert [event["event"] for event in events_of(frametx(*run))].count("done") == 1
    assert soundfile.info(tmp_path / "separated" / "a_Vocals.flac").duration == pytest.approx(0.9)
    assert [event["event"] for event in events_of(frametx(*run, "--crop", "100"))].count("done") == 3
    assert [event["event"] for event in events_of(frametx(*run, "--overwrite"))].count("done") == 3


def test_a_stem_that_was_changed_by_hand_is_not_replaced(frametx, library, tiny_checkpoint, tmp_path):
    """Other parameters don't undo somebody's work; the same ones take it for done."""
    run = ("separate", library / "a.wav", "-m", tiny_checkpoint)
    frametx(*run)
    stem = tmp_path / "separated" / "a_Vocals.flac"
    soundfile.write(stem, np.zeros((100, 2)), 44_100)
    outcome = frametx(*run, "--crop", "100")
    assert outcome.code == 1
    assert "changed since" in outcome.err
    assert frametx(*run).code == 0
    assert soundfile.info(stem).frames == 100
    assert frametx(*run, "--crop", "100", "--overwrite").code == 0


@pytest.fixture
def two_albums(make_song, tmp_path):
    """Different songs of one name in two folders, of one size and time, as `tar` may leave them."""
    songs = [tmp_path / album / "01.wav" for album in "ab"]
    for song in songs:
        song.parent.mkdir()
    samples, rate = soundfile.read(make_song(songs[0], seconds=0.2))
    soundfile.write(songs[1], -samples, rate)
    for song in songs:
        os.utime(song, ns=(10**18, 10**18))
    return songs


@pytest.mark.parametrize("lost", [False, True])
def test_a_part_does_not_replace_the_whole_song(frametx, make_song, tiny_checkpoint, tmp_path, lost):
    """A try of a few seconds is refused where the finished stems lie; the ledger knows it, and without it the tags."""
    run = ("separate", make_song(tmp_path / "song.wav", seconds=1), "-m", tiny_checkpoint)
    assert frametx(*run, "--end", "0:00.5").code == 0
    assert frametx(*run, "--end", "0:00.7").code == 0  # a part gives way to another and to the whole
    assert frametx(*run).code == 0
    before = times_of(tmp_path / "separated")
    if lost:
        (tmp_path / "separated" / ".frametx.jsonl").unlink()
    outcome = frametx(*run, "--end", "0:00.5")
    assert outcome.code == 1
    assert "holds the whole song, and now a part of it is wanted" in outcome.err
    assert times_of(tmp_path / "separated").items() <= before.items()
    assert frametx(*run, "--end", "0:00.5", "--overwrite").code == 0


@pytest.mark.parametrize("options", [(), ("--crop", "100")])
def test_the_stems_of_another_song_are_not_replaced(frametx, two_albums, tiny_checkpoint, tmp_path, options):
    """A song of the same name from elsewhere is refused, run by run as within one, until --overwrite is given."""
    run = ("separate", "-m", tiny_checkpoint)
    frametx(*run, "a/01.wav")
    before = times_of(tmp_path / "separated")
    outcome = frametx(*run, "b/01.wav", *options)
    assert outcome.code == 1
    assert f"is a stem of another song, {two_albums[0]}" in outcome.err
    assert times_of(tmp_path / "separated") == before
    assert frametx(*run, "b/01.wav", *options, "--overwrite").code == 0
    assert times_of(tmp_path / "separated") != before


def test_a_moved_or_linked_or_copied_song_is_the_same_song(frametx, two_albums, tiny_checkpoint, tmp_path, monkeypatch):
    """Its stems are done, whatever it is called by now."""
    run = ("separate", "-m", tiny_checkpoint, "--json", "-o", tmp_path / "separated")
    frametx(*run, "a/01.wav")
    (tmp_path / "link").symlink_to("a", target_is_directory=True)
    shutil.copy(two_albums[0], two_albums[1])
    assert [events_of(frametx(*run, song))[0]["event"] for song in ("link/01.wav", "b/01.wav")] == ["skipped"] * 2
    (tmp_path / "link").unlink()
    (tmp_path / "a").rename(tmp_path / "c")
    monkeypatch.chdir(tmp_path / "c")
    assert events_of(frametx(*run, "01.wav"))[0]["event"] == "skipped"
    write_tags(tmp_path / "c" / "01.wav", Tags(fields={"title": ("New",)}), format="wav")
    assert events_of(frametx(*run, "01.wav"))[-2]["event"] == "done"


@pytest.mark.parametrize("work", ["by hand", "redo"])
def test_work_on_stems_outlives_a_change_of_the_song(frametx, library, tiny_checkpoint, tmp_path, work):
    """New tags in the song don't undo what somebody did to its stems, by hand or with `frametx redo`."""
    song, stem = library / "a.wav", tmp_path / "separated" / "a_Vocals.flac"
    run = ("separate", song, "-m", tiny_checkpoint)
    frametx(*run)
    if work == "redo":
        assert frametx("redo", song, "-s", "0:00.05-0:00.15", "-m", tiny_checkpoint, "--crop", "100").code == 0
    else:
        soundfile.write(stem, np.zeros((100, 2)), 44_100)
    mine = stem.read_bytes()
    write_tags(song, Tags(fields={"title": ("New",)}), format="wav")
    outcome = frametx(*run)
    assert outcome.code == 1
    assert "changed since it was written, and the song is another now" in outcome.err
    assert stem.read_bytes() == mine
    assert frametx(*run, "--overwrite").code == 0


def test_converting_the_model_leaves_done_what_is_done(frametx, make_song, tiny_checkpoint, tmp_path):
    """The tensors are the same: a library that was separated before is not separated once more."""
    run = ("separate", make_song(tmp_path / "song.wav", seconds=0.2), "-m", "mine", "--json")
    assert frametx("models", "import", tiny_checkpoint, "--as", "mine").code == 0
    assert events_of(frametx(*run))[-1]["done"] == 1
    assert frametx("models", "convert", "mine").code == 0
    assert events_of(frametx(*run))[-1]["skipped"] == 1


def test_two_songs_from_stdin_are_separated_one_after_the_other(frametx, two_albums, tiny_checkpoint, monkeypatch):
    """All of them are called stdin, and none is there any more when the next one comes."""
    for path in two_albums:
        with path.open("rb") as song, io.TextIOWrapper(song) as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            outcome = frametx("separate", "-", "-m", tiny_checkpoint, "--json")
        assert outcome.code == 0, outcome.err
        assert events_of(outcome)[-1]["done"] == 1


def test_a_stem_that_is_there_stays_while_a_missing_one_is_made(frametx, library, tiny_checkpoint, tmp_path):
    """Somebody who worked on the one and deleted the other gets the other back, and keeps the work."""
    run = ("separate", library / "a.wav", "-m", tiny_checkpoint)
    frametx(*run)
    edited, deleted = (tmp_path / "separated" / f"a_{stem}.flac" for stem in ("Instrumental", "Vocals"))
    samples = soundfile.read(deleted)[0]
    deleted.unlink()
    soundfile.write(edited, np.zeros((100, 2)), 44_100)
    mine = edited.read_bytes()
    outcome = frametx(*run)
    assert outcome.code == 0, outcome.err
    assert edited.read_bytes() == mine
    np.testing.assert_array_equal(soundfile.read(deleted)[0], samples)
    assert "1 skipped" in frametx(*run).err


def test_a_stem_that_nobody_touched_is_made_with_the_missing_one(frametx, library, tiny_checkpoint, tmp_path):
    """Both come from one run, so that they sum to the song also where machines round differently."""
    run = ("separate", library / "a.wav", "-m", tiny_checkpoint)
    frametx(*run)
    untouched, missing = (tmp_path / "separated" / f"a_{stem}.flac" for stem in ("Instrumental", "Vocals"))
    before = untouched.stat().st_mtime_ns
    missing.unlink()
    assert frametx(*run).code == 0
    assert missing.exists()
    assert untouched.stat().st_mtime_ns > before


def test_a_video_of_stems_that_are_there_names_them_and_keeps_them(frametx, library, tiny_checkpoint, tmp_path):
    """The event has all stems, and what `frametx redo` made of them is not taken for what was separated."""
    song = library / "a.wav"
    run = ("separate", song, "-m", tiny_checkpoint)
    stems = {stem.lower(): tmp_path / "separated" / f"a_{stem}.flac" for stem in ("Instrumental", "Vocals")}
    frametx(*run)
    assert frametx("redo", song, "-s", "0:00.05-0:00.15", "-m", tiny_checkpoint, "--crop", "100").code == 0
    *_, done, _ = events_of(frametx(*run, "--video", "--json"))
    assert done["event"] == "done"
    assert {stem: tmp_path / path for stem, path in done["stems"].items()} == stems
    mine = stems["vocals"].read_bytes()
    outcome = frametx(*run, "--crop", "100")
    assert outcome.code == 1
    assert "changed since it was written" in outcome.err
    assert stems["vocals"].read_bytes() == mine


def test_stems_of_other_parameters_are_not_taken_for_those_of_the_ledger(frametx, library, tiny_checkpoint, tmp_path):
    """A stem says itself what it is, where the ledger speaks of a file that was there before."""
    run = ("separate", library / "a.wav", "-m", tiny_checkpoint)
    frametx(*run)
    frametx(*run, "--crop", "100", "-o", "other")
    for stem in ("Vocals", "Instrumental"):
        (tmp_path / "other" / f"a_{stem}.flac").replace(tmp_path / "separated" / f"a_{stem}.flac")
    outcome = frametx(*run)
    assert outcome.code == 1
    assert "changed since" in outcome.err
    assert frametx(*run, "--crop", "100").code == 0


def test_stems_that_a_killed_run_could_not_write_down_are_its_own(frametx, library, tiny_checkpoint, tmp_path):
    """A run with other parameters, killed before it wrote to the ledger, is gone on with, not refused."""
    run = ("separate", library / "a.wav", "-m", tiny_checkpoint, "--json")
    frametx(*run)
    before = (tmp_path / "separated" / ".frametx.jsonl").read_bytes()
    old = (tmp_path / "separated" / "a_Vocals.flac").rename(tmp_path / "old")
    frametx(*run, "--crop", "100")
    (tmp_path / "separated" / ".frametx.jsonl").write_bytes(before)
    assert events_of(frametx(*run, "--crop", "100"))[0]["event"] == "skipped"
    old.replace(tmp_path / "separated" / "a_Vocals.flac")
    assert events_of(frametx(*run, "--crop", "100"))[-2]["event"] == "done"


def test_without_the_ledger_stems_say_themselves_what_they_are(frametx, library, tiny_checkpoint, tmp_path):
    """A run that was killed before it could write a song down doesn't do it again."""
    frametx("separate", "music", "-r", "-m", tiny_checkpoint)
    (tmp_path / "separated" / ".frametx.jsonl").unlink()
    (tmp_path / "separated" / "x" / "b_Vocals.flac").unlink()
    events = events_of(frametx("separate", "music", "-r", "-m", tiny_checkpoint, "--json"))
    assert sorted(event["event"] for event in events if event["event"] in ("done", "skipped")) == [
        "done",
        "skipped",
        "skipped",
    ]


def test_a_torn_ledger_is_read_as_far_as_it_goes(frametx, library, tiny_checkpoint, tmp_path):
    """Half a line at its end spoils neither the lines before nor the next."""
    run = ("separate", "music", "-r", "-m", tiny_checkpoint, "--json")
    frametx(*run)
    ledger = tmp_path / "separated" / ".frametx.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-40])
    (tmp_path / "separated" / "a_Vocals.flac").unlink()
    frametx(*run)
    assert [event["event"] for event in events_of(frametx(*run))] == ["skipped"] * 3 + ["summary"]


def test_one_bad_file_never_stops_the_rest(frametx, library, tiny_checkpoint, tmp_path):
    """The good ones are done, the bad one is named in the end, and the exit code says it."""
    (library / "bad.wav").write_text("la la la")
    outcome = frametx("separate", "music", "-r", "-m", tiny_checkpoint)
    assert outcome.code == 1
    assert len(stems_in(tmp_path / "separated")) == 6
    assert "bad.wav" in outcome.err.split("failed:")[1]
    assert outcome.err.rstrip().endswith("; 1 failed")


def test_fail_fast_stops_at_the_first_failure(frametx, library, tiny_checkpoint, tmp_path):
    """Songs behind the bad one are not begun."""
    (library / "a.wav").write_text("la la la")
    assert frametx("separate", "music", "-r", "-m", tiny_checkpoint, "--fail-fast").code == 1
    assert not (tmp_path / "separated").exists() or stems_in(tmp_path / "separated") == []


def test_events_tell_the_whole_story(frametx, library, tiny_checkpoint, tmp_path):
    """--json: start, progress that never goes back, done with paths that exist, and a summary; nothing else on stdout."""
    (library / "bad.wav").write_text("la la la")
    outcome = frametx("separate", "music", "-r", "-m", tiny_checkpoint, "--json")
    assert outcome.err == ""
    events = events_of(outcome)
    assert events[-1] | {"seconds": 0, "elapsed_seconds": 0} == {
        "event": "summary",
        "done": 3,
        "skipped": 0,
        "failed": 1,
        "seconds": 0,
        "elapsed_seconds": 0,
        "interrupted": False,
    }
    song = str(library.relative_to(tmp_path) / "x" / "y" / "c.wav")
    mine = [event for event in events if event.get("song") == song]
    assert [mine[0]["event"], mine[-1]["event"]] == ["start", "done"]
    assert (mine[0]["index"], mine[0]["count"]) == (4, 4)
    shares = [event["done"] for event in mine if event["event"] == "progress" and event["stage"] == "separate"]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert all((tmp_path / path).is_file() for path in mine[-1]["stems"].values())
    failure = next(event for event in events if event["event"] == "failed")
    assert failure["song"].endswith("bad.wav")
    assert failure["hint"]


def test_a_list_names_songs(frametx, library, tiny_checkpoint, tmp_path):
    """--from-file takes a playlist whose paths are relative to it; a missing one fails alone."""
    (library / "list.m3u").write_text("#EXTM3U\na.wav\nx/b.flac\ngone.wav\n")
    outcome = frametx("separate", "--from-file", "music/list.m3u", "-m", tiny_checkpoint)
    assert outcome.code == 1
    assert "gone.wav does not exist" in outcome.err
    assert len(stems_in(tmp_path / "separated")) == 4


def test_names_follow_the_template(frametx, library, tiny_checkpoint, tmp_path):
    """--name decides on folders and names."""
    outcome = frametx("separate", "music", "-m", tiny_checkpoint, "--name", "{track}/{stem} of {dir}", "-f", "wav")
    assert outcome.code == 0, outcome.err
    assert stems_in(tmp_path / "separated") == ["a/Instrumental of music.wav", "a/Vocals of music.wav"]


def test_collisions_are_refused_before_any_work(frametx, library, make_song, tiny_checkpoint, tmp_path):
    """x.wav and x.flac would have one name; nothing is written, and the message names both."""
    make_song(library / "a.flac", seconds=0.2)
    outcome = frametx("separate", "music", "-m", tiny_checkpoint)
    assert outcome.code == 2
    assert "a.flac" in outcome.err
    assert "a.wav" in outcome.err
    assert not (tmp_path / "separated").exists()
    assert frametx("separate", "music", "-m", tiny_checkpoint, "--name", "{track}.{trackext}.{stem}").code == 0


def test_a_song_comes_from_stdin_and_its_stem_goes_to_stdout(library, tiny_checkpoint, frametx_process):
    """`-` and `-o -`: the instrumental as FLAC on stdout, everything else on stderr, and no path that is gone at once."""
    with (library / "a.wav").open("rb") as song:
        process = frametx_process("separate", "-", "-o", "-", "-m", tiny_checkpoint, stdin=song, text=False)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert b"1 song" in err
    assert b"Instrumental" not in err
    mix, rate = soundfile.read(library / "a.wav")
    stem, stem_rate = soundfile.read(io.BytesIO(out))
    assert (stem.shape, stem_rate) == (mix.shape, rate)


def test_one_song_alone_goes_through_a_pipe(frametx, library, tiny_checkpoint):
    """Several songs cannot share one stdout, and events cannot share it with a song."""
    assert frametx("separate", "music/a.wav", "music/x/b.flac", "-o", "-", "-m", tiny_checkpoint).code == 2
    assert frametx("separate", "music/a.wav", "-o", "-", "--json", "-m", tiny_checkpoint).code == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_full_disk_below_a_log_stops_no_batch(frametx, library, tiny_checkpoint, tmp_path, monkeypatch, stream):
    """Events or messages that nobody can write down any more cost no song; of lost events stderr tells."""
    with contextlib.suppress(OSError), Path("/dev/full").open("w") as full:  # closing it fails, too
        monkeypatch.setattr(sys, stream, full)
        outcome = frametx("separate", "music", "-m", tiny_checkpoint, *(["--json"] if stream == "stdout" else []))
    assert outcome.code == 0, outcome.err
    assert stems_in(tmp_path / "separated") == ["a_Instrumental.flac", "a_Vocals.flac"]
    assert ("no more events can be written to stdout: No space left" in outcome.err) == (stream == "stdout")


def test_an_estimate_that_fails_stops_no_song(frametx, library, tiny_checkpoint, monkeypatch):
    """It is a courtesy: where memory runs out, the song itself is tried."""

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("frametx.job.LONG_SECONDS", 0.0)
    monkeypatch.setattr("frametx.job.network_seconds", fail)
    assert frametx("separate", library / "a.wav", "-m", tiny_checkpoint).code == 0


def test_what_is_closed_is_said(frametx, library, tiny_checkpoint, monkeypatch):
    """Without stdin or stdout, as some services start programs, - is an error with a message."""
    monkeypatch.setattr(sys, "stdin", None)
    outcome = frametx("separate", "-", "-m", tiny_checkpoint)
    assert (outcome.code, outcome.err.splitlines()[0]) == (1, "error: stdin is closed")
    outcome = frametx("separate", "--from-file", "-", "-m", tiny_checkpoint)
    assert (outcome.code, outcome.err.splitlines()[0]) == (1, "error: stdin is closed")
    monkeypatch.setattr(sys, "stdout", None)
    outcome = frametx("separate", library / "a.wav", "-o", "-", "-m", tiny_checkpoint)
    assert (outcome.code, outcome.err.splitlines()[0]) == (2, "error: stdout is closed")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_an_interruption_leaves_nothing_half_written(make_song, tiny_checkpoint, tmp_path, frametx_process):
    """Ctrl-C in the middle of a song: exit 130, a summary that says so, no file with a final or a partial name."""
    make_song(tmp_path / "long.wav", seconds=8)
    process = frametx_process("separate", "long.wav", "-m", tiny_checkpoint, "--json", "--crop", "100")
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "progress" and event["stage"] == "separate" and 0 < event["done"] < 1:
            process.send_signal(signal.SIGINT)
            break
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    summary = json.loads(out.splitlines()[-1])
    assert (summary["event"], summary["interrupted"]) == ("summary", True)
    left = [path for path in (tmp_path / "separated").rglob("*") if path.suffix in (".flac", ".part")]
    assert left == []


def test_a_full_disk_is_said_before_work(frametx, library, tiny_checkpoint, tmp_path, monkeypatch):
    """The song fails with what is needed, what is to stay free and what is there, before anything is computed."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 3 * 2**20))
    outcome = frametx("separate", "music/a.wav", "-m", tiny_checkpoint)
    assert outcome.code == 1
    assert "64 MiB are to stay free" in outcome.err
    assert "3.0 MiB left" in outcome.err
    assert stems_in(tmp_path / "separated") == [] if (tmp_path / "separated").exists() else True


def test_titles_say_which_stem_it_is(frametx, library, tiny_checkpoint, tmp_path):
    """Tags are carried over, the title gets a suffix, and the stem says what made it; both can be left out."""
    song = library / "x" / "b.flac"
    write_tags(
        song, Tags(fields={"title": ("Ö",), "artist": ("A", "B"), "replaygain_track_gain": ("-3 dB",)}), format="flac"
    )
    frametx("separate", song, "-m", tiny_checkpoint)
    tags = read_tags(tmp_path / "separated" / "b_Vocals.flac")
    assert tags.fields["title"] == ("Ö (Vocals)",)
    assert tags.fields["artist"] == ("A", "B")
    assert not any(name.startswith("replaygain") for name in tags.fields)
    made = json.loads(tags.first("frametx"))
    assert made["models"][0]["name"] == tiny_checkpoint.name
    assert len(made["models"][0]["sha256"]) == len(made["song_sha256"]) == 64
    frametx("separate", song, "-m", tiny_checkpoint, "--plain-title", "-o", "plain")
    assert read_tags(tmp_path / "plain" / "b_Vocals.flac").fields["title"] == ("Ö",)
    frametx("separate", song, "-m", tiny_checkpoint, "--no-tags", "-o", "none")
    assert set(read_tags(tmp_path / "none" / "b_Vocals.flac").fields) == {"frametx"}


def test_a_report_comes_with_the_stems(frametx, song, tiny_checkpoint, tmp_path):
    """--report makes the page of each song, with where several models disagree; alone if the stems are there already."""
    other = shutil.copy(tiny_checkpoint, tmp_path / "other.pth")
    command = ("separate", song, "-m", f"{tiny_checkpoint},{other}", "--name", "{stem} of {track}", "--report")
    outcome = frametx(*command)
    assert outcome.code == 0, outcome.err
    [page] = (tmp_path / "separated").glob("*.report.html")
    assert page.name in outcome.err
    figures = json.loads(page.with_suffix(".json").read_text("utf-8"))
    assert len(figures["disagreement"]["models"]) == 2
    assert figures["residual"] == 0.0
    assert figures["elapsed_seconds"] > 0
    assert "1 skipped" in frametx(*command).err
    page.unlink()
    assert frametx(*command).code == 0
    assert page.exists()


def test_only_what_is_missing_is_made_beside_finished_stems(frametx, song, tiny_checkpoint, tmp_path):
    """With the report there and the video gone, the video alone is made, and the other way round."""
    command = ("separate", song, "-m", tiny_checkpoint, "--report", "--video")
    assert frametx(*command).code == 0
    [page] = (tmp_path / "separated").glob("*.report.html")
    [video] = (tmp_path / "separated").glob("*.mp4")
    for gone, kept in ((page, video), (video, page)):
        gone.unlink()
        before = kept.stat().st_mtime_ns
        outcome = frametx(*command)
        assert outcome.code == 0, outcome.err
        assert gone.exists()
        assert kept.stat().st_mtime_ns == before


def test_a_report_and_a_video_of_earlier_stems_are_made_again(frametx, song, tiny_checkpoint, tmp_path):
    """When the stems were replaced meanwhile, what shows the old ones is not done."""
    command = ("separate", song, "-m", tiny_checkpoint)
    both = ("--report", "--video")
    assert frametx(*command, *both).code == 0
    made = [next((tmp_path / "separated").glob(pattern)) for pattern in ("*.report.html", "*.mp4")]
    old = [path.stat().st_mtime_ns for path in made]
    assert frametx(*command, "--crop", "100").code == 0
    assert [path.stat().st_mtime_ns for path in made] == old
    outcome = frametx(*command, "--crop", "100", *both)
    assert outcome.code == 0, outcome.err
    assert all(path.stat().st_mtime_ns > before for path, before in zip(made, old, strict=True))
    assert "1 skipped" in frametx(*command, "--crop", "100", *both).err


@pytest.mark.parametrize("options", [["--stems", "vocals"], ["--start", "0:00.1"], ["-o", "-"]])
def test_a_report_wants_both_stems_of_a_whole_song(frametx, song, tiny_checkpoint, options):
    """What it could not show is refused before any work."""
    outcome = frametx("separate", song, "-m", tiny_checkpoint, "--report", *options)
    assert outcome.code == 2
    assert "--report shows both stems of a whole song" in outcome.err


def test_what_cannot_be_a_song_is_said_and_the_rest_is_done(frametx, song, tiny_checkpoint, tmp_path):
    """A name longer than any file's, and a folder that is not there, cost only themselves."""
    inputs = (song, "x" * 300 + ".flac", "nowhere/y.flac")
    outcome = frametx("separate", *inputs, "-m", tiny_checkpoint, "-o", tmp_path / "out", "--copy-images")
    assert outcome.code == 1
    assert "nowhere/y.flac" in outcome.err
    assert "Traceback" not in outcome.err
    assert len(list((tmp_path / "out").glob("song_*.flac"))) == 2


def test_the_summary_comes_last_even_without_a_model(frametx, song, tmp_path):
    """Who reads the events learns that a model cannot be loaded, not only that the stream ends."""
    (tmp_path / "bad.safetensors").write_bytes(b"\x10")
    outcome = frametx("separate", song, "-m", "bad.safetensors", "--json")
    assert outcome.code == 1
    assert "bad.safetensors" in outcome.err
    assert json.loads(outcome.out.splitlines()[-1])["event"] == "summary"
