"""Making one recording sound like many.

Everything works on float32 stereo `[2 n]` and draws from the generator it is given, so that a draw can be repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import soxr

from frametx.errors import TrainingError
from frametx.spectrum import SAMPLE_RATE
from frametx.training.background import held_chord
from frametx.training.stereo import narrowed, spread

if TYPE_CHECKING:
    from frametx.song_samples import Samples
    from frametx.training.config import AugmentConfig

LEVEL = 0.1
"""RMS, where there is sound, at which effects are driven and stems are mixed."""
WINDOW = SAMPLE_RATE // 10


def active_rms(samples: Samples) -> float:
    """RMS of the parts that are less than 20 dB below the loudest tenth of a second."""
    whole = samples[:, : samples.shape[1] // WINDOW * WINDOW]
    if whole.shape[1] == 0:
        return float(np.sqrt(np.square(samples).mean() + 1e-14))
    rms = np.sqrt(np.square(whole).reshape(2, -1, WINDOW).mean(axis=(0, 2)) + 1e-14)
    loud = rms[rms > rms.max() * 0.1]
    return float(np.sqrt(np.square(loud).mean()))


def at_level(samples: Samples, db: float = 0.0) -> Samples:
    """Scale sound to `LEVEL`, or so many dB above it; silence stays silence."""
    return samples * np.float32(LEVEL / max(1e-4, active_rms(samples)) * 10 ** (db / 20))


class Augmenter:
    """Applies what a config asks for.

    Args:
        config: Shares and reaches.

    Raises:
        TrainingError: Effects are wanted and pedalboard is not installed.
    """

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config
        self.board: Any = None
        if config.effects:
            try:
                import pedalboard  # noqa: PLC0415  (an optional dependency)
            except ImportError as error:
                raise TrainingError(
                    "augment.effects needs the package pedalboard", "pip install 'frametx[train]', or turn it off"
                ) from error
            self.board = pedalboard

    def __reduce__(self) -> tuple[type[Augmenter], tuple[AugmentConfig]]:
        """For workers that are no copies of this process, as on macOS and Windows: a module cannot be sent to them."""
        return Augmenter, (self.config,)

    def speed(self, rng: np.random.Generator) -> float:
        """Draw how fast a recording is played."""
        reach = self.config.speed_semitones
        return float(2 ** (rng.uniform(-reach, reach) / 12)) if rng.random() < self.config.speed else 1.0

    def instrumental(self, samples: Samples, rng: np.random.Generator) -> Samples:
        """Vary an instrumental."""
        samples = self._stereo(samples, rng)
        if rng.random() < self.config.narrow:
            samples = narrowed(samples, share=float(rng.uniform(0.6, 1.0)))
        return self._common(samples, rng)

    def vocals(self, samples: Samples, rng: np.random.Generator, *, dry: bool = False) -> Samples:
        """Vary vocals; dry ones get the room that finished songs have."""
        samples = self._stereo(samples, rng)
        background = rng.random() < self.config.background
        if background:
            samples = held_chord(samples, rng)
        if rng.random() < self.config.spread:
            samples = spread(samples, rng)
        if self.board is not None:
            chain = self._vocal_chain(rng, wet=1.0 if dry or background else 0.3)
            if background and rng.random() < 0.6:
                chain += self._distance(rng)
            samples = self._apply(chain, at_level(samples))
        return self._common(samples, rng)

    def pair(self, instrumental: Samples, vocals: Samples, rng: np.random.Generator) -> tuple[Samples, Samples]:
        """Vary stems that belong together: the channels of both are swapped or of neither."""
        if rng.random() < self.config.swap:
            instrumental, vocals = instrumental[::-1], vocals[::-1]
        return np.ascontiguousarray(instrumental), np.ascontiguousarray(vocals)

    def _stereo(self, samples: Samples, rng: np.random.Generator) -> Samples:
        if rng.random() < self.config.swap:
            samples = samples[::-1]
        if rng.random() < 0.5:
            samples = -samples
        if rng.random() < self.config.width:
            middle, side = (
                (samples[0] + samples[1]) / 2,
                (samples[0] - samples[1]) / 2 * np.float32(rng.uniform(0.2, 1.5)),
            )
            samples = np.stack([middle + side, middle - side])
        return np.ascontiguousarray(samples)

    def _common(self, samples: Samples, rng: np.random.Generator) -> Samples:
        if rng.random() < self.config.band_limit:
            samples = band_limited(samples, rate=float(rng.uniform(11025, 36000)))
        if self.board is not None:
            samples = self._apply(self._equaliser(rng), samples)
            if rng.random() < self.config.codec:
                samples = self._apply([self.board.MP3Compressor(vbr_quality=float(rng.uniform(2, 9)))], samples)
        return samples

    def _apply(self, effects: list[Any], samples: Samples) -> Samples:
        if not effects:
            return samples
        result: Samples = self.board.Pedalboard(effects)(samples, SAMPLE_RATE)
        return result

    def _equaliser(self, rng: np.random.Generator) -> list[Any]:
        pb, reach = self.board, self.config.equaliser_db
        effects = []
        if rng.random() < 0.6:
            effects.append(pb.LowShelfFilter(float(rng.uniform(80, 500)), float(rng.uniform(-reach, reach))))
        if rng.random() < 0.6:
            effects.append(pb.HighShelfFilter(float(rng.uniform(2000, 9000)), float(rng.uniform(-reach, reach))))
        if rng.random() < 0.4:
            hertz = float(np.exp(rng.uniform(np.log(200), np.log(6000))))
            effects.append(pb.PeakFilter(hertz, float(rng.uniform(-reach, reach)), float(rng.uniform(0.5, 2))))
        return effects

    def _vocal_chain(self, rng: np.random.Generator, wet: float) -> list[Any]:
        """What a mixing engineer might put on a voice; `wet` scales how often it gets delay and reverb."""
        pb = self.board

        def between(low: float, high: float) -> float:
            return float(rng.uniform(low, high))

        chain = []
        if rng.random() < 0.35:  # in close recordings the fundamental carries most of a voice
            hertz = float(np.exp(rng.uniform(np.log(180), np.log(700))))
            chain.append(pb.LowShelfFilter(hertz, between(3, 15), between(0.5, 0.9)))
        elif rng.random() < 0.6:
            chain.append(pb.HighpassFilter(between(60, 200)))
        if rng.random() < 0.4:
            chain.append(pb.Compressor(between(-30, -15), between(2, 6), between(2, 20), between(60, 300)))
        if rng.random() < 0.07:
            chain.append(pb.Distortion(between(5, 20)))
        if rng.random() < 0.12:
            chain.append(pb.Chorus(between(0.4, 1.5), between(0.1, 0.4), between(5, 12), 0.0, between(0.2, 0.5)))
        if rng.random() < 0.2 * wet:
            chain.append(pb.Delay(between(0.08, 0.5), between(0, 0.5), between(0.08, 0.35)))
        if rng.random() < 0.85 * wet:
            size, damping, amount = between(0.1, 0.85), between(0.2, 0.8), between(0.05, 0.4)
            chain.append(pb.Reverb(size, damping, amount, between(0.5, 1.0), between(0.4, 1.0)))
        return chain

    def _distance(self, rng: np.random.Generator) -> list[Any]:
        """What puts voices behind the others: no air, little chest, a large room."""
        pb = self.board
        steep = pb.LadderFilter.Mode.LPF24 if rng.random() < 0.5 else pb.LadderFilter.Mode.LPF12
        effects = [
            pb.LadderFilter(steep, cutoff_hz=float(np.exp(rng.uniform(np.log(900), np.log(6000)))), resonance=0.0)
        ]
        if rng.random() < 0.6:
            effects.append(pb.HighpassFilter(float(rng.uniform(120, 450))))
        if rng.random() < 0.6:
            size, damping, amount, dry = rng.uniform((0.4, 0.2, 0.2, 0.1), (0.95, 0.8, 0.8, 0.8))
            effects.append(pb.Reverb(float(size), float(damping), float(amount), float(dry), 1.0))
        return effects


def band_limited(samples: Samples, rate: float) -> Samples:
    """Lose everything above half of `rate`, as recordings at that rate do."""
    n_samples = samples.shape[1]
    there = soxr.resample(samples.T, SAMPLE_RATE, rate, quality="LQ")
    back = soxr.resample(there, rate, SAMPLE_RATE, quality="LQ").T[:, :n_samples]
    return np.ascontiguousarray(np.pad(back, ((0, 0), (0, n_samples - back.shape[1]))))
