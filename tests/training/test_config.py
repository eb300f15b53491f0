"""Configs that cannot be meant are refused with the key in the message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from frametx.errors import TrainingError
from frametx.training import config
from frametx.training.config import OptimiserConfig, Source
from frametx.training.config_file import read_config
from frametx.training.optimiser import rate_at
from frametx.training.plan import phases_of

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
output = "run"
[data]
instrumentals = ["a", { folder = "b", weight = 2 }]
vocals = [{ folder = "c", dry = true }]
[[stages]]
steps = 10
frames = 32
batch = 4
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_paths_are_relative_to_the_config(tmp_path):
    """Folders and the output lie beside the file that names them."""
    config = read_config(written(tmp_path, GOOD))
    assert config.output == tmp_path / "run"
    assert config.data.instrumentals == (Source(folder=tmp_path / "a"), Source(folder=tmp_path / "b", weight=2.0))
    assert config.data.vocals[0].dry


def test_songs_of_validation_may_keep_their_level(tmp_path):
    """TOML has no word for nothing, so false takes the default away."""
    assert read_config(written(tmp_path, GOOD)).validation.vocals_db == -5
    text = f"{GOOD}\n[validation]\nvocals_db = false\n"
    assert read_config(written(tmp_path, text)).validation.vocals_db is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("steps = 10", "steps = 'ten'"), r"stages\[0\].steps = 'ten' should be a whole number"),
        (("steps = 10", "steps = true"), r"should be a whole number"),
        (("steps = 10", "steps = 0"), r"stages\[0\].steps = 0 should be at least 1"),
        (("steps = 10", ""), r"stages\[0\].steps is missing"),
        (("steps = 10", "steps = 10\nwheels = 4"), r"unknown key stages\[0\].wheels"),
        (('output = "run"', ""), "output is missing"),
        (('output = "run"', 'output = "run"\nprecision = "fp8"'), "'fp8' is none of fp32, bf16"),
        (('output = "run"', "output = 3"), "output = 3 should be a path"),
        (("[data]", "[mixing]\nno_vocals = 1.5\n[data]"), "mixing.no_vocals = 1.5 is a share"),
        (("[data]", "[optimiser]\nlearning_rate = 0\n[data]"), "learning_rate = 0.0 should be above 0"),
        (("[data]", "[optimiser]\nbetas = [0.9]\n[data]"), "betas should have 2 values"),
        (("[data]", "[optimiser]\nlearning_rate = nan\n[data]"), "learning_rate = nan should be above 0"),
        (("[data]", "[optimiser]\nbetas = [1.5, 0.9]\n[data]"), r"betas\[0\] = 1.5 should be from 0 to below 1"),
        (("[data]", "[optimiser]\nclip_norm = -1\n[data]"), "clip_norm = -1.0 should not be below 0"),
        (("[data]", "[loss]\ncomplex = 0\nroot = 0\n[data]"), "every loss has the weight 0"),
        (("weight = 2", "weight = -1"), "the weight of .*b = -1.0 should be a number, not below 0"),
        (("[data]", "[optimiser]\nema = 1.0\n[data]"), "ema = 1.0 should be from 0 to below 1"),
        (('vocals = [{ folder = "c", dry = true }]', ""), "nothing to mix"),
        (
            ('vocals = [{ folder = "c", dry = true }]', 'pairs = ["p"]'),
            "data.instrumentals is of no use without data.vocals",
        ),
        (("instrumentals = [", "instrumentals = 5 #"), "should be a list"),
        (("[data]", "[mixing]\nvocals_db_spread = -1\n[data]"), "vocals_db_spread = -1.0 should be from 0"),
        (("[data]", "[mixing]\nvocals_db = nan\n[data]"), "mixing.vocals_db = nan is no level"),
        (("[data]", "[mixing]\nheadroom_db = inf\n[data]"), "headroom_db = inf should be from 0"),
        (("[data]", "[mixing]\nno_vocals = 0.7\nonly_vocals = 0.7\n[data]"), "shares of the same songs"),
        (("[data]", "[augment]\nspeed_semitones = -2\n[data]"), "speed_semitones = -2.0 should be from 0"),
        (("[data]", "[augment]\nequaliser_db = nan\n[data]"), "equaliser_db = nan should be from 0"),
        (("[data]", "[optimiser]\npower = -1\n[data]"), "optimiser.power = -1.0 should be a number"),
        (("[data]", "[optimiser]\nfinal_share = 2\n[data]"), "final_share = 2.0 is a share"),
        (("[data]", "[validation]\nwindow_seconds = 0.5\n[data]"), "window_seconds = 0.5 should be a second"),
        (("[data]", "[validation]\nwindows_per_song = 0\n[data]"), "windows_per_song = 0 should be at least 1"),
        (("[data]", "[pretraining]\nsteps = -1\n[data]"), "pretraining.steps = -1 should not be below 0"),
        (("[data]", "[adversary]\nweight = nan\n[data]"), "adversary.weight = nan should be a number"),
        (("[data]", "[adversary]\nlearning_rate = -1\n[data]"), "adversary.learning_rate = -1.0 should be above 0"),
        (("[data]", "[adversary]\nchannels = 0\n[data]"), "adversary.channels = 0 should be at least 1"),
        (("[data]", "[loss]\nmel_bands = 0\n[data]"), "loss.mel_bands = 0 should be at least 1"),
        (('output = "run"', 'output = "run"\nseed = -1'), "seed = -1 should not be below 0"),
        (('output = "run"', 'output = "run"\nstop_after = 0'), "stop_after = 0 should be at least 1"),
        (("[data]", "[augment]\ncodec = 0.5\n[data]"), "augment.codec = 0.5 is of no use without augment.effects"),
        (("weight = 2", "weight = inf"), "the weight of .*b = inf should be a number"),
        (("[[stages]]", "[stages]"), "stages = .* should be a list"),
        (("[data]", "[data"), "is no TOML"),
    ],
)
def test_what_cannot_be_meant_is_named(tmp_path, change, message):
    """Wrong types, unknown or missing keys and values out of range are told by key."""
    with pytest.raises(TrainingError, match=message):
        read_config(written(tmp_path, GOOD.replace(*change)))


def test_a_config_saved_with_a_byte_order_mark_is_read(tmp_path):
    """Some editors on Windows put one before the text."""
    assert read_config(written(tmp_path, "\ufeff" + GOOD)) == read_config(written(tmp_path, GOOD))


def test_a_path_with_backslashes_in_double_quotes_is_explained(tmp_path):
    """TOML takes them for escapes, and its own message doesn't say what to write."""
    with pytest.raises(TrainingError, match="is no TOML") as caught:
        read_config(written(tmp_path, GOOD.replace('"run"', '"C:\\Users\\me\\run"')))
    assert "single quotes" in (caught.value.hint or "")


def test_the_example_in_the_documentation_is_a_config(tmp_path):
    """What config.py shows can be copied."""
    example = [line[4:] for line in (config.__doc__ or "").splitlines() if line.startswith("    ")]
    assert read_config(written(tmp_path, "\n".join(example))).stages


def test_a_missing_file_is_named(tmp_path):
    """A path that does not exist is in the message."""
    with pytest.raises(TrainingError, match=r"nowhere\.toml"):
        read_config(tmp_path / "nowhere.toml")


class TestSchedule:
    def test_the_rate_rises_falls_and_ends_low(self):
        """Linear warm-up to the highest rate, then down to the final share."""
        options = OptimiserConfig(learning_rate=1.0, warmup_steps=10, final_share=0.01)
        rates = [rate_at(step, 100, options) for step in range(101)]
        assert rates[0] == pytest.approx(0.1)
        assert max(rates) < 1.0
        assert rates[10:] == sorted(rates[10:], reverse=True)
        assert rates[100] == pytest.approx(0.01)

    @pytest.mark.parametrize(("decay", "halfway"), [("polynomial", 0.25), ("constant", 1.0), ("cosine", 0.5)])
    def test_decays_have_their_shape(self, decay, halfway):
        """Half the way each decay is where its formula says."""
        options = OptimiserConfig(learning_rate=1.0, warmup_steps=0, final_share=0.0, decay=decay, power=2.0)
        assert rate_at(50, 100, options) == pytest.approx(halfway)

    def test_phases_follow_one_another_and_never_reuse_songs(self, tmp_path):
        """Steps and song numbers go on from pre-training through the stages."""
        more = "[pretraining]\nsteps = 5\n[[stages]]\nsteps = 3\nframes = 64\nbatch = 2\n"
        text = GOOD + more
        first, second, third = phases_of(read_config(written(tmp_path, text)))
        assert [(p.start, p.end, p.first_number) for p in (first, second, third)] == [
            (0, 5, 0),
            (5, 15, 20),
            (15, 18, 60),
        ]
        assert (first.denoise, second.denoise, third.frames) == (True, False, 64)
