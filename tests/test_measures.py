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


def test_the_median_ignores_silent_and_ruined_seconds():
    """One ruined second and one silent second do not move the median of the others."""
    truth = noise(6.0)
    truth[:, RATE : 2 * RATE] = 0
    estimate = truth * 1.1
    estimate[:, :RATE] = 0.5
    assert sdr_median(truth, estimate) == pytest.approx(20.0, abs=0.01)


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
    assert all(np.isfinite(value) for value in found.as_dict().values() if value is not None)
    assert found.l1 == 0


def test_digital_silence_is_silent():
    """Nothing and next to nothing are silent, music is not."""
    assert is_silent(np.zeros((2, 100), np.float32))
    assert is_silent(np.zeros((2, 0), np.float32))
    assert not is_silent(noise())
