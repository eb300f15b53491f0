"""Judging separation: which songs and parts, and what stands in the table."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from frametx.cli.app import app
from frametx.errors import AudioError, UsageError
from frametx.evaluate import BASELINE, Windows, at_level, evaluate_pairs, parts, results_of, summarise
from frametx.pairs import find_instrumentals, find_pairs, read_pair

RATE = 44100


def noise(seconds: float, seed: int, level: float = 0.1) -> np.ndarray:
    return level * np.random.default_rng(seed).standard_normal((2, int(seconds * RATE))).astype(np.float32)


def write(path, samples) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples.T, RATE, subtype="FLOAT")


@pytest.fixture
def stems(tmp_path):
    """Two songs, one of each layout: `a` sings in its first half, `b` all the time."""
    folder = tmp_path / "stems"
    vocals = noise(4, 1)
    vocals[:, 2 * RATE :] = 0
    write(folder / "a_vocals.wav", vocals)
    write(folder / "a_accompaniment.wav", noise(4, 2))
    write(folder / "b" / "vocals.wav", noise(3, 3))
    write(folder / "b" / "no_vocals.wav", noise(3, 4))
    return folder


def halves(mix):
    """A separator that gives half the mixture to either stem."""
    return 0.5 * mix, 0.5 * mix


class TestPairs:
    def test_both_layouts_are_found(self, stems):
        """Songs are found by suffix and by folder, the stems told apart."""
        assert [(p.name, p.vocals.name, *(f.name for f in p.instrumental)) for p in find_pairs(stems)] == [
            ("a", "a_vocals.wav", "a_accompaniment.wav"),
            ("b", "vocals.wav", "no_vocals.wav"),
        ]

    def test_a_song_with_no_vocals_in_its_suffix_is_the_instrumental(self, tmp_path):
        """<song>_no_vocals is the instrumental of <song>, not the vocals of <song>_no."""
        write(tmp_path / "x_no_vocals.wav", noise(1, 0))
        write(tmp_path / "x_vocals.wav", noise(1, 1))
        (pair,) = find_pairs(tmp_path)
        assert (pair.name, pair.instrumental) == ("x", (tmp_path / "x_no_vocals.wav",))

    @pytest.mark.parametrize(
        ("vocals", "instrumental"),
        [
            ("A - B (Vocals).wav", "A - B (Instrumental).wav"),
            ("A - B_(Vocals)_a model.wav", "A - B_(No Vocals)_another.wav"),
            ("A - B - vocals.wav", "A - B no vocals.wav"),
            ("A - B/No (Vocals) here_vocals.wav", "A - B/No (Vocals) here_karaoke.wav"),
        ],
    )
    def test_names_of_other_programs_are_understood(self, tmp_path, vocals, instrumental):
        """In brackets, with the model behind them, after a dash: the song is what stands before."""
        for seed, name in enumerate((vocals, instrumental)):
            write(tmp_path / name, noise(0.1, seed))
        (pair,) = find_pairs(tmp_path)
        assert (pair.vocals, pair.instrumental) == (tmp_path / vocals, (tmp_path / instrumental,))
        assert pair.name in ("A - B", "A - B/No (Vocals) here")

    def test_a_karaoke_beside_an_instrumental_does_not_count(self, tmp_path):
        """It may have backing vocals, and then it and the vocals are not the song."""
        for seed, name in enumerate(("vocals", "instrumental", "karaoke")):
            write(tmp_path / f"x_{name}.wav", noise(0.1, seed))
        assert find_pairs(tmp_path)[0].instrumental == (tmp_path / "x_instrumental.wav",)

    def test_a_stem_that_is_there_twice_is_refused(self, tmp_path):
        """Which of the two is meant cannot be known: the lossy one was taken."""
        for name in ("x_vocals.flac", "x_vocals.ogg", "x_instrumental.flac"):
            soundfile.write(tmp_path / name, noise(0.1, 0).T, RATE)
        with pytest.raises(AudioError, match=r"x_vocals\.flac and .*x_vocals\.ogg are the same stem"):
            find_pairs(tmp_path)

    def test_songs_in_hidden_folders_are_passed_over(self, stems):
        """What was thrown away on a memory stick lies in one."""
        for stem in ("vocals", "instrumental"):
            write(stems / ".Trash-1000" / f"c_{stem}.wav", noise(0.1, 0))
        assert [pair.name for pair in find_pairs(stems)] == ["a", "b"]
        assert len(find_instrumentals(stems)) == 4

    def test_an_instrumental_in_parts_is_their_sum(self, tmp_path):
        """Drums, bass and the rest make the instrumental, as MUSDB18 has it; the mixture beside them is no stem."""
        for seed, part in enumerate(("drums", "bass", "other", "vocals", "mixture")):
            write(tmp_path / "song" / f"{part}.wav", noise(1, seed))
        instrumental, vocals = read_pair(find_pairs(tmp_path)[0])
        np.testing.assert_allclose(instrumental, sum(noise(1, seed) for seed in range(3)), atol=1e-6)
        np.testing.assert_allclose(vocals, noise(1, 3), atol=1e-6)

    def test_an_instrumental_counts_more_than_its_parts(self, tmp_path):
        """Where both are there, nothing is added twice."""
        for seed, name in enumerate(("vocals", "instrumental", "drums")):
            write(tmp_path / "song" / f"{name}.wav", noise(1, seed))
        assert [pair.instrumental for pair in find_pairs(tmp_path)] == [(tmp_path / "song" / "instrumental.wav",)]

    def test_a_stem_that_ends_early_is_silent_from_there_on(self, tmp_path):
        """Different lengths and rates come back as equally long stereo at 44.1 kHz, and nothing is lost."""
        soundfile.write(tmp_path / "x_vocals.wav", np.full(11_025, 0.1), 22_050)
        write(tmp_path / "x_drums.wav", noise(1, 0))
        write(tmp_path / "x_bass.wav", noise(2, 1))
        instrumental, vocals = read_pair(find_pairs(tmp_path)[0])
        assert instrumental.shape == vocals.shape == (2, 2 * RATE)
        assert np.abs(vocals[:, : RATE // 4]).max() > 0.09
        assert not vocals[:, RATE // 2 :].any()
        np.testing.assert_allclose(instrumental[:, :RATE], noise(1, 0) + noise(2, 1)[:, :RATE], atol=1e-6)
        np.testing.assert_allclose(instrumental[:, RATE:], noise(2, 1)[:, RATE:], atol=1e-6)

    def test_a_folder_without_pairs_says_how_to_name_them(self, tmp_path):
        """Half a pair is no pair, and the message shows the naming."""
        write(tmp_path / "x_vocals.wav", noise(1, 0))
        with pytest.raises(AudioError, match="no song with both stems") as caught:
            find_pairs(tmp_path)
        assert "_instrumental" in caught.value.hint

    def test_stems_in_tracks_of_one_file_are_no_pair(self, tmp_path):
        """MUSDB18 as it is first offered has all stems in one file; what to do about it is said."""
        (tmp_path / "train").mkdir()
        (tmp_path / "train" / "A Song.stem.mp4").write_bytes(b"\0" * 100)
        with pytest.raises(AudioError) as caught:
            find_pairs(tmp_path)
        assert "MUSDB18-HQ" in caught.value.hint


class TestParts:
    def test_windows_without_singing_are_left_out(self):
        """Only windows whose vocals are not much quieter than usual are judged."""
        vocals = noise(5, 0)
        vocals[:, RATE : 3 * RATE] *= 0.01
        assert [start // RATE for start, _ in parts(vocals, Windows(seconds=1.0))] == [0, 3, 4]

    def test_vocals_are_set_to_the_wanted_level(self):
        """At -5 dB the vocals have that energy relative to the instrumental."""
        vocals, instrumental = noise(1, 0, 0.5), noise(1, 1)
        scaled = at_level(vocals, instrumental, Windows(vocals_db=-5.0))
        assert 20 * np.log10(np.linalg.norm(scaled) / np.linalg.norm(instrumental)) == pytest.approx(-5, abs=1e-3)

    def test_a_window_below_a_second_is_refused(self):
        """Windows shorter than a frame of the median make no sense."""
        with pytest.raises(UsageError, match="too short"):
            Windows(seconds=0.5)


class TestFigures:
    def test_gain_is_sdr_above_the_mixture(self, stems):
        """Giving half the mixture to each stem has the gain that arithmetic says."""
        summary = summarise(list(evaluate_pairs(find_pairs(stems), {"halves": halves}, Windows(vocals_db=0.0))))
        for stem in ("instrumental", "vocals"):
            # equally loud noises a, b: error of (a+b)/2 is (b-a)/2, half the energy of b
            assert summary["halves"]["songs"]["b"][stem]["gain"] == pytest.approx(10 * np.log10(2), abs=0.1)
            assert summary[BASELINE]["mean"][stem]["gain"] == 0

    def test_songs_nobody_sings_in_leave_the_gain_to_the_others(self, stems):
        """Where the mixture is the instrumental itself, nothing can be gained, and means are those of the other songs."""
        pairs = [p for p in find_pairs(stems) if p.name == "b"]
        alone = summarise(list(evaluate_pairs(pairs, {"halves": halves}, Windows())))["halves"]
        write(stems / "unsung_vocals.wav", 0 * noise(2, 5))
        write(stems / "unsung_instrumental.wav", noise(2, 6))
        pairs = [p for p in find_pairs(stems) if p.name in ("b", "unsung")]
        both = summarise(list(evaluate_pairs(pairs, {"halves": halves}, Windows())))["halves"]
        assert both["songs"]["unsung"]["instrumental"]["gain"] is None
        assert both["mean"]["instrumental"]["gain"] == alone["mean"]["instrumental"]["gain"]

    def test_perfect_results_of_another_tool_beat_the_mixture(self, stems):
        """The true stems given as results are judged perfect."""
        summary = summarise(list(evaluate_pairs(find_pairs(stems), {"true": results_of(stems)}, Windows())))
        assert summary["true"]["mean"]["vocals"]["sdr"] > 60
        assert summary["true"]["median"]["instrumental"]["fullness"] == pytest.approx(100)

    def test_missing_results_are_named_before_anything_is_separated(self, stems, tmp_path):
        """Not after hours, when the song's turn comes."""
        for stem in ("vocals", "instrumental"):
            write(tmp_path / "other" / f"a_{stem}.wav", noise(4, 0))
        separated = []
        systems = {"model": separated.append, "other": results_of(tmp_path / "other")}
        with pytest.raises(AudioError, match="no results for b"):
            list(evaluate_pairs(find_pairs(stems), systems, Windows()))
        assert not separated

    def test_results_of_which_one_stem_is_cut_are_refused(self, stems, tmp_path):
        """That the other stem is whole doesn't make the rest of the vocals silence."""
        for kind, seconds in (("vocals", 1), ("instrumental", 3)):
            write(tmp_path / "other" / f"b_{kind}.wav", noise(seconds, 0))
        pairs = [pair for pair in find_pairs(stems) if pair.name == "b"]
        with pytest.raises(AudioError, match=r"of other for b are 2.0 s shorter"):
            list(evaluate_pairs(pairs, {"other": results_of(tmp_path / "other")}, Windows()))

    def test_results_may_be_a_little_shorter(self, stems, tmp_path):
        """Formats pad and cut: what is missing counts as silence, and the rest is judged."""
        for stem, kind in (("vocals", "vocals"), ("no_vocals", "instrumental")):
            samples, _ = soundfile.read(stems / "b" / f"{stem}.wav", dtype="float32")
            write(tmp_path / "other" / f"b_{kind}.wav", samples[: -RATE // 100].T)
        pairs = [pair for pair in find_pairs(stems) if pair.name == "b"]
        summary = summarise(list(evaluate_pairs(pairs, {"other": results_of(tmp_path / "other")}, Windows())))
        assert 20 < summary["other"]["mean"]["vocals"]["sdr"] < 30  # a hundredth of a second of three is lost

    def test_results_of_another_length_are_refused(self, stems, tmp_path):
        """Results that lack more than a second are not of this song."""
        for kind in ("vocals", "instrumental"):
            write(tmp_path / "other" / f"a_{kind}.wav", noise(2, 0))
        pairs = [pair for pair in find_pairs(stems) if pair.name == "a"]
        with pytest.raises(AudioError, match=r"of other for a are 2.0 s shorter"):
            list(evaluate_pairs(pairs, {"other": results_of(tmp_path / "other")}, Windows()))

    def test_songs_nobody_sings_in_are_judged_by_leakage(self, stems):
        """On instrumentals alone the vocals are judged by what was wrongly taken for them."""
        pairs = [p for p in find_instrumentals(stems) if p.name == "a_accompaniment"]
        summary = summarise(list(evaluate_pairs(pairs, {"halves": halves}, Windows())))
        assert summary["halves"]["mean"]["vocals"]["leakage"] == pytest.approx(-6.02, abs=0.01)
        assert summary["halves"]["mean"]["vocals"]["sdr"] is None


class TestCommand:
    def test_json_holds_every_figure_and_the_baseline(self, stems, tiny_checkpoint):
        """`frametx evaluate --json` prints the whole table for the model and the mixture."""
        result = CliRunner().invoke(
            app, ["evaluate", str(stems), "--model", str(tiny_checkpoint), "--json", "--device", "cpu", "--song", "b"]
        )
        assert result.exit_code == 0, result.output
        summary = json.loads(result.stdout)
        assert set(summary) == {tiny_checkpoint.name, BASELINE}
        assert list(summary[BASELINE]["songs"]) == ["b"]
        assert summary[tiny_checkpoint.name]["mean"]["vocals"]["sdr"] is not None

    def test_results_alone_need_no_model(self, stems):
        """`--only-against` judges folders without loading any network."""
        result = CliRunner().invoke(app, ["evaluate", str(stems), "--against", str(stems), "--only-against"])
        assert result.exit_code == 0, result.output
        assert "bleedless" in result.stdout

    def test_the_table_is_the_result_and_whole(self, stems, monkeypatch):
        """`frametx evaluate ... > table.txt` has it, with names as long as they are, however narrow the terminal."""
        monkeypatch.setenv("COLUMNS", "80")
        long = stems.rename(stems.parent / f"results_of_{'another_' * 8}tool")
        result = CliRunner().invoke(app, ["evaluate", str(long), "--against", str(long), "--only-against"])
        assert str(long) in result.stdout
        assert "bleedless" not in result.stderr

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--against", "nowhere"], "nowhere is no folder"),
            (["--against", "stems", "--vocals-db", "-5"], "--vocals-db"),
        ],
    )
    def test_what_is_wrong_with_results_is_said_before_a_model_is_fetched(self, stems, monkeypatch, more, message):
        """A gigabyte of v10 would be of no use."""
        monkeypatch.chdir(stems.parent)
        result = CliRunner().invoke(app, ["evaluate", "stems", "-m", "v10", "--offline", *more])
        assert isinstance(result.exception, AudioError | UsageError)
        assert message in result.exception.message

    def test_names_in_brackets_stay_as_they_are(self, tmp_path):
        """The table shows a song called `[a]`, which is no markup."""
        for stem in ("vocals", "instrumental"):
            write(tmp_path / "s" / f"[a]_{stem}.wav", noise(0.1, 0))
        result = CliRunner().invoke(app, ["evaluate", f"{tmp_path}/s", "--against", f"{tmp_path}/s", "--only-against"])
        assert "[a]" in result.output.partition("bleedless")[2]

    def test_a_folder_called_as_the_model_is_judged_beside_it(self, stems, tiny_checkpoint, monkeypatch):
        """Neither takes the other's place in the table, nor does a folder called mixture."""
        monkeypatch.chdir(stems.parent)
        for name in (tiny_checkpoint.name, BASELINE):
            (stems.parent / name).symlink_to(stems)
        arguments = ["evaluate", "stems", "-m", str(tiny_checkpoint), "--json", "-d", "cpu", "--song", "b"]
        result = CliRunner().invoke(app, [*arguments, "--against", tiny_checkpoint.name, "--against", BASELINE])
        assert result.exit_code == 0, result.output
        summary = json.loads(result.stdout)
        perfect = [name for name, figures in summary.items() if figures["mean"]["vocals"]["sdr"] > 60]
        assert perfect == [f"{tiny_checkpoint.name}/", f"{BASELINE}/"]
        assert set(summary) == {*perfect, tiny_checkpoint.name, BASELINE}

    def test_songs_shorter_than_a_window_are_named(self, stems):
        """What is left out is said, and nothing but that is an error."""
        arguments = ["evaluate", str(stems), "--against", str(stems), "--only-against", "--window"]
        result = CliRunner().invoke(app, [*arguments, "3.5"])
        assert "b: left out, it is shorter than a window" in result.stderr
        assert isinstance(CliRunner().invoke(app, [*arguments, "30"]).exception, AudioError)

    def test_a_damaged_song_costs_none_of_the_others(self, stems):
        """It is named, the others are judged, and scripts can tell by the status."""
        write(stems / "c_vocals.wav", noise(1, 5))
        (stems / "c_instrumental.wav").write_bytes(b"no sound at all")
        result = CliRunner().invoke(app, ["evaluate", str(stems), "--against", str(stems), "--only-against", "--json"])
        assert result.exit_code == 1
        assert f"error: {stems / 'c_instrumental.wav'}" in result.stderr.replace("\n", "")
        assert set(json.loads(result.stdout)[BASELINE]["songs"]) == {"a", "b"}

    def test_nothing_but_damaged_songs_gives_no_table(self, stems):
        """The errors stand alone."""
        (stems / "a_vocals.wav").write_bytes(b"no sound at all")
        arguments = ["evaluate", str(stems), "--song", "a", "--against", str(stems), "--only-against", "--json"]
        result = CliRunner().invoke(app, arguments)
        assert (result.exit_code, result.stdout) == (1, "")

    def test_an_unknown_song_is_refused_with_those_that_are_there(self, stems):
        """`--song` names what the folder holds when it does not hold that."""
        result = CliRunner().invoke(app, ["evaluate", str(stems), "--song", "z"])
        assert isinstance(result.exception, UsageError)
        assert "a, b" in result.exception.hint
