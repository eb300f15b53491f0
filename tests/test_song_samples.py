"""Songs that are read more than once."""

from __future__ import annotations

import numpy as np
import pytest

from frametx.song_samples import ArraySong, RememberedSong

SAMPLES = np.random.default_rng(0).uniform(-1, 1, (2, 150_000)).astype(np.float32)


class CountingSong(ArraySong):
    """Counts how often somebody began to read it."""

    n_readings = 0

    def blocks(self):
        """Samples in pieces."""
        CountingSong.n_readings += 1
        yield from super().blocks()


@pytest.mark.parametrize(("limit_bytes", "n_readings"), [(SAMPLES.nbytes, 1), (SAMPLES.nbytes - 1, 3), (0, 3)])
def test_a_song_that_fits_is_decoded_once(limit_bytes, n_readings):
    """Every reading gives all samples; only a song larger than the limit is read from its source each time."""
    CountingSong.n_readings = 0
    song = RememberedSong(CountingSong(samples=SAMPLES, sample_rate=44_100), limit_bytes)
    for _ in range(3):
        assert np.array_equal(np.concatenate(list(song.blocks()), axis=1), SAMPLES)
    assert CountingSong.n_readings == n_readings
    assert (song.sample_rate, song.channels) == (44_100, 2)


def test_a_reading_given_up_is_not_taken_for_the_song():
    """What remains after half a reading is the whole song."""
    song = RememberedSong(ArraySong(samples=SAMPLES, sample_rate=44_100))
    next(song.blocks())
    assert sum(block.shape[1] for block in song.blocks()) == SAMPLES.shape[1]
