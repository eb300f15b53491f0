"""Measures against known errors and against a published implementation."""

from __future__ import annotations

import fast_bss_eval
import numpy as np
import pytest
import torch

from frametx.measures import is_silent, measure, sdr, sdr_median, si_sdr

RATE = 44100


def noise(seconds: float = 3.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2, int(seconds * RATE))).astype(np.float32) * 0.1


@pytest.mark.parametrize("level", [1.0, 0.1, 0.01])
def test_sdr_is_the_level_of_the_error(level):
    """An error of a known level gives its level as SDR."""
    truth, error = noise(), noise(seed=1)
    error *= level * np.linalg.norm(truth) / np.linalg.norm(error)
    assert sdr(truth, truth + error) == pytest.approx(-20 * np.log10(level), abs=1e-3)


def test_the_median_ignores_a_ruined_second():
    """One does not move it where the others are alike."""
    truth = noise(6.0)
    estimate = truth * 1.1
    estimate[:, :RATE] = 0.5
    assert sdr_median(truth, estimate) == pytest.approx(20.0, abs=0.01)


def test_the_median_leaves_out_seconds_in_which_either_is_silent():
    """Of five seconds the first and the last count: nobody sings in two, and in one nothing was found."""
    truth = noise(5.0)
    estimate = truth * 1.1
    estimate[:, 4 * RATE :] = truth[:, 4 * RATE :] * 1.01
    truth[:, RATE : 3 * RATE] = 0
    estimate[:, 3 * RATE : 4 * RATE] = 0
    assert sdr_median(truth, estimate) == pytest.approx(30.0, abs=0.01)
    assert sdr_median(np.zeros_like(truth), estimate) is None


def test_si_sdr_agrees_with_fast_bss_eval():
    """Both channels as one signal, ours is the published figure."""
    truth, estimate = noise(), 0.7 * noise() + 0.3 * noise(seed=1)
    theirs = fast_bss_eval.si_sdr(
        torch.tensor(truth).reshape(1, -1).double(), torch.tensor(estimate).reshape(1, -1).double()
    )
    assert si_sdr(truth, estimate) == pytest.approx(float(theirs), abs=1e-3)


def test_sdr_agrees_with_fast_bss_eval_when_the_error_is_unrelated():
    """With an error that no filter of the truth explains, the SDR is BSSEval's."""
    truth, estimate = noise(6.0), noise(6.0) + 0.2 * noise(6.0, seed=1)
    theirs = fast_bss_eval.sdr(torch.tensor(truth[:1]).double(), torch.tensor(estimate[:1]).double(), filter_length=32)
    assert sdr(truth[:1], estimate[:1]) == pytest.approx(float(theirs), abs=0.05)


def test_fullness_falls_when_something_is_missing_and_bleedless_when_something_is_left():
    """The two leakage measures each answer to their own kind of error."""
    truth, other = noise(), noise(seed=1)
    mix = truth + other
    perfect = measure(truth, truth, mix)
    assert (perfect.fullness, perfect.bleedless) == (100, 100)
    thin, dirty = measure(truth, truth * 0.5, mix), measure(truth, truth * 2, mix)
    assert thin.bleedless == 100
    assert dirty.fullness == 100
    assert thin.fullness == pytest.approx(100 / 7.02, abs=0.1)
    assert dirty.bleedless == pytest.approx(100 / 7.02, abs=0.1)


def test_what_is_60_db_below_the_mixture_is_not_missed():
    """Nobody hears it; what is lost 40 dB below counts."""
    truth, other = noise(), noise(seed=1)
    found = [measure(level * truth, np.zeros_like(truth), level * truth + other).fullness for level in (1e-2, 10**-3.5)]
    assert found[0] < 10
    assert found[1] == 100


def test_what_is_too_much_in_one_is_what_is_missing_in_the_other():
    """Also where the one is silent and only the other is heard."""
    truth, mix = noise(), noise(seed=1)
    truth[:, RATE:] = 0
    estimate = noise(seed=2) / 10
    there, back = measure(truth, estimate, mix), measure(estimate, truth, mix)
    assert there.bleedless == pytest.approx(back.fullness)
    assert there.fullness == pytest.approx(back.bleedless)
    assert 0 < there.bleedless < there.fullness < 100


def test_l1_is_the_mean_difference_of_magnitudes():
    """Half of noise is missing: half the mean of its magnitudes, whose squares are its power times the window's."""
    truth = noise()
    power = 0.1**2 * 3 / 8 * 2048
    expected = 0.5 * np.sqrt(np.pi / 4 * power)
    assert measure(truth, truth / 2, truth).l1 == pytest.approx(expected, rel=0.02)


def test_a_silent_stem_is_judged_by_its_leakage():
    """Where nobody sings only what was taken for a voice is measured, relative to the mixture."""
    mix = noise()
    found = measure(np.zeros_like(mix), 0.1 * mix, mix)
    assert found.sdr is None
    assert found.leakage == pytest.approx(-20, abs=0.01)


def test_a_perfect_estimate_gives_finite_figures():
    """No measure is infinite, so that means stay meaningful."""
    truth = noise()
    found = measure(truth, truth, truth)
    assert (found.sdr, found.sdr_median, found.l1) == (120, 120, 0)
    assert found.si_sdr == pytest.approx(120)


def test_digital_silence_is_silent():
    """Nothing and next to nothing are silent, music is not."""
    assert is_silent(np.zeros((2, 100), np.float32))
    assert is_silent(np.zeros((2, 0), np.float32))
    assert is_silent(noise() * 1e-5)
    assert not is_silent(noise() * 1e-3)
    assert not is_silent(noise())
