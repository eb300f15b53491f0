"""`frametx separate`, as its users see it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from frametx import load_model
from frametx.errors import UsageError


def stems_of(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_song_becomes_two_flac_stems_in_separated(frametx, song, tiny_checkpoint, tmp_path):
    """The plain command writes <track>_Instrumental.flac and <track>_Vocals.flac that sum to the song exactly."""
    outcome = frametx("separate", song, "-m", tiny_checkpoint)
    assert outcome.code == 0, outcome.err
    assert stems_of(tmp_path / "separated") == ["song_Instrumental.flac", "song_Vocals.flac"]
    mix, instrumental, vocals = (
        soundfile.read(path, dtype="int16")[0].astype(int)
        for path in (song, *(tmp_path / "separated" / f"song_{stem}.flac" for stem in ("Instrumental", "Vocals")))
    )
    np.testing.assert_array_equal(instrumental + vocals, mix)
    assert "x real time" in outcome.err


@pytest.mark.parametrize(
    ("subtype", "options", "expected", "step"),
    [
        ("PCM_24", ["-f", "flac"], "PCM_24", 2**-23),
        ("PCM_16", ["-f", "wav", "--bit-depth", "24"], "PCM_24", 2**-23),
        ("FLOAT", ["-f", "wav"], "FLOAT", 2e-7),
        ("PCM_16", ["-f", "wav", "--bit-depth", "float"], "FLOAT", 2e-7),
        ("FLOAT", ["-f", "flac", "--bit-depth", "16"], "PCM_16", 2**-15),
    ],
)
def test_stems_keep_the_bit_depth_and_sum_to_the_song(
    frametx, make_song, tiny_checkpoint, tmp_path, subtype, options, expected, step
):
    """The depth is the song's own or the one asked for; the sum is off by one step of the least bit at most."""
    song = make_song(tmp_path / "in.wav", seconds=0.3, subtype=subtype)
    assert frametx("separate", song, "-m", tiny_checkpoint, "-o", "out", *options).code == 0
    stems = sorted((tmp_path / "out").glob("[!.]*"))
    assert {soundfile.info(stem).subtype for stem in stems} == {expected}
    total = sum(soundfile.read(stem, dtype="float64")[0] for stem in stems)
    np.testing.assert_allclose(total, soundfile.read(song, dtype="float64")[0], atol=step)


@pytest.mark.parametrize(
    ("stems", "names"), [("instrumental", ["song_Instrumental.flac"]), ("vocals", ["song_Vocals.flac"])]
)
def test_one_stem_can_be_chosen(frametx, song, tiny_checkpoint, tmp_path, stems, names):
    """--stems writes only what was asked for."""
    assert frametx("separate", song, "-m", tiny_checkpoint, "--stems", stems).code == 0
    assert stems_of(tmp_path / "separated") == names


@pytest.mark.parametrize(
    "name", ["ビデオ 🎵.flac", 'it\'s "quoted".flac', "-dash.flac", "a.b.c.flac", "n" * 200 + ".flac"]
)
def test_odd_names_are_names(frametx, make_song, tiny_checkpoint, tmp_path, name):
    """Unicode, quotes, a leading dash, dots and long names come through."""
    make_song(tmp_path / name, seconds=0.1)
    assert frametx("separate", "-m", tiny_checkpoint, "--", name).code == 0
    stem = name.removesuffix(".flac")
    assert stems_of(tmp_path / "separated") == sorted([f"{stem}_Instrumental.flac", f"{stem}_Vocals.flac"])


@pytest.mark.parametrize("sample_rate", [8_000, 44_100, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_stems_have_the_songs_rate_length_and_channels(
    frametx, make_song, tiny_checkpoint, tmp_path, sample_rate, channels
):
    """Mono stays mono, surround becomes stereo (and is said), the rate and the length stay."""
    song = make_song(tmp_path / "in.wav", seconds=0.1234, sample_rate=sample_rate, channels=channels)
    outcome = frametx("separate", song, "-m", tiny_checkpoint)
    assert outcome.code == 0
    info = soundfile.info(tmp_path / "separated" / "in_Vocals.flac")
    assert (info.samplerate, info.frames) == (sample_rate, soundfile.info(song).frames)
    assert info.channels == min(channels, 2)
    assert ("note:" in outcome.err) == (channels > 2)


def test_a_section_can_be_separated(frametx, make_song, tiny_checkpoint, tmp_path):
    """--start and --end take seconds or minutes and cut to the sample."""
    song = make_song(tmp_path / "in.wav", seconds=2)
    assert frametx("separate", song, "-m", tiny_checkpoint, "--start", "0:00.5", "--end", "1.25").code == 0
    assert soundfile.info(tmp_path / "separated" / "in_Vocals.flac").frames == round(0.75 * 44_100)


def test_a_one_sample_song_and_silence_pass(frametx, tiny_checkpoint, tmp_path):
    """The shortest song has stems of one sample; silence stays silence."""
    soundfile.write(tmp_path / "one.wav", np.full((1, 2), 0.5), 44_100)
    soundfile.write(tmp_path / "silence.wav", np.zeros((10_000, 2)), 44_100)
    assert frametx("separate", "one.wav", "silence.wav", "-m", tiny_checkpoint).code == 0
    assert soundfile.info(tmp_path / "separated" / "one_Vocals.flac").frames == 1
    for stem in ("Vocals", "Instrumental"):
        assert not soundfile.read(tmp_path / "separated" / f"silence_{stem}.flac")[0].any()


class TestBadInput:
    """One clear line with a hint, exit 1, and nothing left behind."""

    @pytest.fixture(autouse=True)
    def inputs(self, tmp_path):
        """Every kind of file that is no song."""
        (tmp_path / "empty.flac").touch()
        (tmp_path / "text.wav").write_text("la la la\n" * 100)
        (tmp_path / "folder").mkdir()
        nan = np.zeros((1000, 2), dtype=np.float32)
        nan[500, 1] = np.nan
        soundfile.write(tmp_path / "nan.wav", nan, 44_100, subtype="FLOAT")
        soundfile.write(tmp_path / "none.wav", np.zeros((0, 2)), 44_100)
        soundfile.write(tmp_path / "whole.flac", np.random.default_rng(0).uniform(-0.1, 0.1, (200_000, 2)), 44_100)
        whole = (tmp_path / "whole.flac").read_bytes()
        (tmp_path / "truncated.flac").write_bytes(whole[: len(whole) // 2])
        (tmp_path / "whole.flac").unlink()

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("missing.flac", "does not exist"),
            ("empty.flac", "is empty"),
            ("text.wav", "not audio"),
            ("folder", "holds no songs"),
            ("nan.wav", "NaN"),
            ("none.wav", "no samples"),
            ("truncated.flac", "truncated.flac"),
        ],
    )
    def test_is_refused_and_leaves_nothing(self, frametx, tiny_checkpoint, tmp_path, name, message):
        """The message names the file and what is wrong with it."""
        outcome = frametx("separate", name, "-m", tiny_checkpoint, "-q")
        assert outcome.code == 1
        assert outcome.err.startswith("error: ")
        assert message in outcome.err.splitlines()[0]
        assert not (tmp_path / "separated").exists() or not any((tmp_path / "separated").iterdir())

    @pytest.mark.parametrize("names", [("missing.flac",), ("missing.flac", "nowhere/gone.wav")])
    def test_misspelt_songs_are_said_before_a_model_is_fetched(self, frametx, names):
        """There is no network here, so a download would be the first thing to fail."""
        outcome = frametx("separate", *names, "-m", "v10")
        assert outcome.code == 1
        assert outcome.err.startswith("error: missing.flac does not exist")

    @pytest.mark.parametrize(
        ("name", "way_out"),
        [
            ("https://www.youtube.com/watch?v=x", "download it first"),
            ("file:///music/song.flac", "without file://"),
            ("'song.flac'", "type song.flac"),
            ("~/song.flac", "home folder"),
            ("*.wav", "name one, or a folder"),
        ],
    )
    def test_what_is_no_files_name_is_explained(self, frametx, name, way_out):
        """Addresses, and what the shell left as it was."""
        outcome = frametx("separate", name)
        assert outcome.code == 1
        assert way_out in outcome.err.partition("hint: ")[2]

    def test_playlist_is_read_with_from_file(self, frametx, song, tmp_path):
        """It is refused before the songs beside it are separated."""
        (tmp_path / "my list.m3u").write_text("song.flac\n")
        outcome = frametx("separate", song, "my list.m3u")
        assert outcome.code == 2
        assert "--from-file 'my list.m3u'" in outcome.err

    def test_does_not_stop_the_others(self, frametx, song, tiny_checkpoint, tmp_path):
        """The good song is separated, the exit code still says that one failed."""
        assert frametx("separate", "text.wav", song, "-m", tiny_checkpoint).code == 1
        assert len(stems_of(tmp_path / "separated")) == 2

    def test_checkpoint_is_refused(self, frametx, song, tmp_path):
        """A file that is no checkpoint is named."""
        (tmp_path / "model.pth").write_bytes(b"no checkpoint")
        outcome = frametx("separate", song, "-m", "model.pth")
        assert outcome.code == 1
        assert "model.pth" in outcome.err


def test_existing_stems_are_kept_unless_overwriting_is_allowed(frametx, song, tiny_checkpoint, tmp_path):
    """A stem that somebody else wrote is not replaced without being asked."""
    (tmp_path / "separated").mkdir()
    target = tmp_path / "separated" / "song_Vocals.flac"
    target.write_bytes(b"precious")
    outcome = frametx("separate", song, "-m", tiny_checkpoint)
    assert outcome.code == 1
    assert target.read_bytes() == b"precious"
    assert "exists" in outcome.err
    assert frametx("separate", song, "-m", tiny_checkpoint, "--overwrite").code == 0
    assert soundfile.info(target).frames == soundfile.info(song).frames


@pytest.mark.parametrize(
    "arguments",
    [
        ["--stems", "drums"],
        ["--bit-depth", "12"],
        ["-f", "xyz"],
        ["-d", "gpu"],
        ["--precision", "fp8"],
        ["--ensemble", "sum"],
        ["--crop", "0"],
        ["--context", "-1"],
        ["--start", "later"],
        ["--start", "5", "--end", "2"],
        ["--compat", "yours"],
        ["--weights", "1,2", "--ensemble", "mean"],
        ["--no-such-flag"],
        ["-o", "karaoke.MP3"],
    ],
)
def test_wrong_options_are_usage_errors(frametx, song, tiny_checkpoint, tmp_path, arguments):
    """Every value that cannot be meant exits with 2, says which, and writes nothing."""
    outcome = frametx("separate", song, "-m", tiny_checkpoint, *arguments)
    assert outcome.code == 2, outcome.err
    assert "Traceback" not in outcome.err
    assert not list(tmp_path.glob("separated/*"))


@pytest.mark.parametrize("arguments", [["-j", "2"], ["-d", "cuda:0,cuda:1"]])
def test_a_ray_cluster_is_not_told_where_to_put_songs(frametx, song, arguments):
    """What it would not heed is refused."""
    outcome = frametx("separate", song, "--ray", "local", *arguments)
    assert outcome.code == 2
    assert "places the songs itself" in outcome.err


def test_the_bundled_models_name_and_near_misses_are_explained(frametx, song):
    """A name that is nearly right is suggested."""
    outcome = frametx("separate", song, "-m", "v11")
    assert outcome.code == 2
    assert "v10" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "v7,v99"], "v99"),
        (["-m", "v7,v8,v7"], "twice"),
        (["-m", "v7,original"], "'original' is an ensemble"),
        (["-m", "v7,v8", "--ensemble", "mean", "--weights", "1"], "1 weights for 2 models"),
    ],
)
def test_models_that_cannot_be_meant_are_refused_before_the_first_is_fetched(frametx, song, arguments, message):
    """There is no network here, so a download of v7 would be the first thing to fail."""
    outcome = frametx("separate", song, *arguments)
    assert outcome.code == 2
    assert message in outcome.err


def test_a_missing_checkpoint_is_said_before_the_model_beside_it_is_fetched(frametx, song):
    """As above: the snapshot cannot be fetched here."""
    outcome = frametx("separate", song, "-m", "v7,gone.pth")
    assert outcome.code == 1
    assert "gone.pth does not exist" in outcome.err


def test_a_misspelt_ensemble_is_suggested(frametx, song):
    """Not only single models are."""
    outcome = frametx("separate", song, "-m", "orignal")
    assert outcome.code == 2
    assert "did you mean original" in outcome.err


def test_one_network_of_an_ensemble_cannot_be_loaded():
    """Nor is any of its networks fetched to find that out."""
    with pytest.raises(UsageError, match="an ensemble of 2 models"):
        load_model("v7,v8")


class TestStdout:
    """`-o -`: the bytes of one stem, whole, or a refusal."""

    @pytest.fixture
    def piped(self, frametx, tiny_checkpoint, monkeypatch):
        """Run `frametx separate ARGUMENTS -o -` and say how it went and what came out, as bytes."""

        def run(*arguments):
            stdout = io.TextIOWrapper(io.BytesIO())
            with monkeypatch.context() as patch:
                patch.setattr(sys, "stdout", stdout)
                outcome = frametx("separate", *arguments, "-o", "-", "-m", tiny_checkpoint)
            return outcome, stdout.buffer.getvalue()

        return run

    @pytest.mark.parametrize(
        ("name", "options"),
        [(".hidden.flac", []), ("in.flac", ["--name", "x/{track}_{stem}"]), ("in.flac", ["--stems", "vocals"])],
    )
    def test_gets_the_stem_whatever_it_is_called(
        self, piped, frametx, make_song, tiny_checkpoint, tmp_path, name, options
    ):
        """A hidden name and a name with folders are no obstacle, and there is nothing but the stem."""
        make_song(tmp_path / name, seconds=0.2)
        outcome, out = piped(name, *options)
        assert outcome.code == 0, outcome.err
        assert frametx("separate", name, "-o", "out", "-m", tiny_checkpoint, *options).code == 0
        kind = "Vocals" if "vocals" in options else "Instrumental"
        (stem,) = (tmp_path / "out").rglob(f"*_{kind}.flac")
        assert np.array_equal(soundfile.read(io.BytesIO(out))[0], soundfile.read(stem)[0])

    def test_is_for_one_song(self, piped, make_song, tmp_path):
        """A folder counts by the songs in it: two are refused, one is a song."""
        (tmp_path / "music").mkdir()
        make_song(tmp_path / "music" / "a.flac", seconds=0.1)
        make_song(tmp_path / "music" / "b.flac", seconds=0.1)
        outcome, out = piped("music")
        assert (outcome.code, out) == (2, b"")
        assert "one song alone" in outcome.err
        (tmp_path / "music" / "b.flac").unlink()
        outcome, out = piped("music")
        assert outcome.code == 0
        assert len(soundfile.read(io.BytesIO(out))[0]) == 4410

    def test_takes_no_pictures(self, piped, song, tmp_path):
        """--copy-images has nowhere to copy to."""
        (tmp_path / "cover.jpg").write_bytes(b"a picture")
        outcome, out = piped(song, "--copy-images")
        assert (outcome.code, out) == (2, b"")
        assert "--copy-images" in outcome.err


@pytest.mark.skipif(sys.platform != "linux", reason="names must be UTF-8 there")
@pytest.mark.parametrize("list_file", ["-", "list.m3u"])
def test_a_list_may_name_songs_in_any_encoding(frametx, make_song, tiny_checkpoint, tmp_path, monkeypatch, list_file):
    """A name that is not UTF-8 is found, whether the list is a file or comes from stdin; lines may end with CR LF."""
    song = tmp_path / os.fsdecode(b"caf\xe9.flac")
    make_song(tmp_path / "in.flac", seconds=0.1).rename(song)
    content = b"\xef\xbb\xbf#EXTM3U\r\ncaf\xe9.flac\r\n"
    (tmp_path / "list.m3u").write_bytes(content)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), "utf-8", "strict"))
    assert frametx("separate", "--from-file", list_file, "-m", tiny_checkpoint, "-q").code == 0
    assert (tmp_path / "separated" / os.fsdecode(b"caf\xe9_Vocals.flac")).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits on the size of files")
def test_a_disk_too_small_for_stdin_is_said(frametx, monkeypatch):
    """What comes from stdin is kept in a temporary folder; when that is full, the message says which and what to do."""
    import resource

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bytes(2_000_000))))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        outcome = frametx("separate", "-")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert outcome.code == 1
    assert outcome.err.startswith("error: stdin cannot be copied")
    assert "TMPDIR" in outcome.err


def test_interrupting_exits_with_130_and_leaves_nothing(frametx_process, make_song, tiny_checkpoint, tmp_path):
    """Ctrl-C in the middle of a song removes what was begun."""
    make_song(tmp_path / "long.wav", seconds=600)
    process = frametx_process("separate", "long.wav", "-m", tiny_checkpoint, "--crop", "64")
    for line in process.stderr:  # the first line is printed when the model is loaded
        if line.startswith("model"):
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not list(tmp_path.glob("separated/*"))


def test_interrupting_the_start_leaves_no_traceback(tmp_path):
    """Ctrl-C while the command line itself is being loaded."""
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt", "utf-8")
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport frametx.cli as c; c.main()",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_help_does_not_import_torch():
    """The command line starts fast: torch is imported by the commands that need it."""
    code = "import sys; sys.argv = ['frametx', '--help']\nimport frametx.cli\n"
    code += "try:\n frametx.cli.main()\nexcept SystemExit: pass\n"
    code += "print('HEAVY', sorted({'torch', 'numpy', 'soundfile', 'requests'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize(
    ("command", "defaults"),
    [
        ("separate", ["the bundled model", "the preset's, else min", "what suits the model", "what fits on a GPU"]),
        ("redo", ["the bundled model"]),
        ("evaluate", ["the bundled model"]),
        ("compare", ["10 below the largest"]),
        ("report", ["beside the stems"]),
    ],
)
def test_help_says_what_happens_without_an_option(frametx, command, defaults):
    """Defaults that are words stand in the help, too: square brackets in its text would be taken for markup."""
    outcome = frametx(command, "--help")
    for default in defaults:
        assert f"[default: ({default})" in outcome.out or f"{default})]" in outcome.out
