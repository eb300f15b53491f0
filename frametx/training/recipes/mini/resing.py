"""Sing recorded syllables and speech again, on melodies, with the WORLD vocoder (package pyworld).

    python resing.py VOICES SPEECH OUT HOURS [SEED]

VOICES holds the sung syllables and their `index.json`, SPEECH the `.npy` files that `decode.py` wrote. OUT receives
`sung/*.npy` and `spoken/*.npy`, int16 stereo at 44.1 kHz of about half a minute each; a run may be repeated with
another seed to add to it.

A stretch of syllables becomes a phrase: every syllable is stretched in time and put on one to three notes of a scale,
with portamento, vibrato that sets in late, a little drift, and formants scaled by a factor that is one singer's for the
whole file. Some files are slow, with vowels that are held for seconds.
Almost half of the files get further takes (unison, third, fifth, octave), panned apart; some hold chords all the way.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pyworld  # type: ignore[import-untyped]
import soundfile

SAMPLE_RATE = 44100
FRAME_MS = 5.0
FRAMES_PER_SECOND = 1000.0 / FRAME_MS
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 7, 10))
NOTE_OF_BANK = {"A3": 57, "D4": 62, "A4": 69, "D5": 74, "C3": 48, "E3": 52, "G3": 55, "C4": 60, "F4": 65}
FILE_SECONDS = 30.0
SPEECH_SHARE = 0.65
"""More than half: the banks are three singers, the packages many speakers."""
FORMANT_RANGE = (-0.22, 0.25)
"""Natural logarithm of the factor, from a longer vocal tract to a child's."""
TAKES_SHARE = 0.45
LOW_SHARE = 0.25
LOW_CENTRES = (47.0, 56.0)
LOWEST_BANKS = 57
"""Low voices, MIDI notes: without them three quarters of what is sung lay above 180 Hz, and low voices were missed."""
SLOWNESS = (0.8, 2.4)
HELD_SHARE = 0.15
HELD_SLOWNESS = (3.0, 6.0)
"""Chords that are held, as in choirs behind a lead voice: slower still, and always with further takes."""
Syllable = tuple[np.ndarray, np.ndarray, np.ndarray]  # voiced [t], spectral envelope [t f], aperiodicity [t f]


def analyse(samples: np.ndarray, rate: int) -> Syllable | None:
    """Take a recording apart; `None` when hardly anything in it is voiced."""
    wave = samples.astype(np.float64)
    f0, times = pyworld.dio(wave, rate, f0_floor=70.0, f0_ceil=900.0, frame_period=FRAME_MS)
    f0 = pyworld.stonemask(wave, f0, times, rate)
    if (f0 > 0).mean() < 0.3:
        return None
    envelope = pyworld.cheaptrick(wave, f0, times, rate, fft_size=2048)
    noise = pyworld.d4c(wave, f0, times, rate, fft_size=2048)
    return f0 > 0, envelope.astype(np.float32), noise.astype(np.float32)


def warp_formants(envelope: np.ndarray, factor: float) -> np.ndarray:
    """Scale the frequency axis of an envelope `[t f]` by `factor`."""
    n_bins = envelope.shape[1]
    position = np.minimum(np.arange(n_bins) / factor, n_bins - 1.001)
    low = position.astype(int)
    share = (position - low).astype(envelope.dtype)
    return np.asarray(envelope[:, low] * (1 - share) + envelope[:, low + 1] * share)


def stretch(syllable: Syllable, n_frames: int) -> Syllable:
    """Read a syllable's frames at another speed."""
    index = np.linspace(0, len(syllable[0]) - 1, n_frames).astype(int)
    return syllable[0][index], syllable[1][index], syllable[2][index]


def smooth(curve: np.ndarray, n_frames: int) -> np.ndarray:
    """Running mean, the ends held."""
    padded = np.pad(curve, n_frames // 2, mode="edge")
    return np.convolve(padded, np.ones(n_frames) / n_frames, mode="same")[n_frames // 2 : n_frames // 2 + len(curve)]


class Melody:
    """A random walk on one scale around a comfortable note; pitches in MIDI semitones."""

    def __init__(self, rng: np.random.Generator, centre: float) -> None:
        self.rng = rng
        root = int(rng.integers(12))
        scale = SCALES[int(rng.integers(len(SCALES)))]
        self.notes = [n for n in range(int(centre) - 8, int(centre) + 9) if (n - root) % 12 in scale]
        self.place = len(self.notes) // 2
        self.vibrato_hz = rng.uniform(4.6, 6.6)
        self.vibrato_depth = rng.uniform(0.0, 0.7)
        self.glide = int(rng.uniform(5, 28))

    def line(self, n_frames: int) -> np.ndarray:
        """Scale places, one a frame, for one syllable."""
        n_notes = int(self.rng.choice([1, 1, 1, 2, 3])) if n_frames > 40 else 1
        cuts = np.sort(self.rng.integers(0, n_frames, n_notes - 1))
        places = np.empty(n_frames, dtype=int)
        for part in np.split(np.arange(n_frames), cuts):
            step = int(self.rng.choice([-3, -2, -1, -1, 0, 0, 1, 1, 2, 3]))
            self.place = int(np.clip(self.place + step, 0, len(self.notes) - 1))
            places[part] = self.place
        return places

    def pitch(self, places: np.ndarray, shift: int, detune: float) -> np.ndarray:
        """Turn scale places into semitones with glides, vibrato and drift; `shift` in steps of the scale."""
        place = np.clip(places + shift, 0, len(self.notes) - 1)
        target = np.asarray(self.notes, dtype=float)[place] + detune
        n_frames = len(target)
        since = np.arange(n_frames) - np.maximum.accumulate(
            np.where(np.diff(target, prepend=target[0] - 1) != 0, np.arange(n_frames), 0)
        )
        onset = np.clip((since - 40) / 60.0, 0, 1)
        phase = 2 * np.pi * self.vibrato_hz * np.arange(n_frames) / FRAMES_PER_SECOND + self.rng.uniform(0, 6)
        drift = smooth(self.rng.normal(0, 1.2, n_frames), 30) * 0.5
        return np.asarray(smooth(target, self.glide) + self.vibrato_depth * onset * np.sin(phase) + drift)


def synthesise(frames: Syllable, pitch: np.ndarray, loudness: np.ndarray, formant: float) -> np.ndarray:
    """Make the sound of one take, float32 mono."""
    f0 = np.where(frames[0], 440.0 * 2.0 ** ((pitch - 69.0) / 12.0), 0.0)
    envelope = warp_formants(frames[1], formant).astype(np.float64) * loudness[:, None] ** 2
    noise = np.clip(frames[2], 0.0, 1.0).astype(np.float64)
    envelope = np.ascontiguousarray(np.maximum(envelope, 1e-16))
    wave = pyworld.synthesize(f0, envelope, np.ascontiguousarray(noise), SAMPLE_RATE, FRAME_MS)
    return np.asarray(wave, np.float32)


def join(
    syllables: list[Syllable], melody: Melody, rng: np.random.Generator, slow: float
) -> tuple[Syllable, np.ndarray, np.ndarray]:
    """String syllables into phrases; returns frames, scale places `[t]` and loudness `[t]`."""
    frames: list[Syllable] = []
    places: list[np.ndarray] = []
    loudness: list[np.ndarray] = []
    total, left = 0, int(rng.integers(2, 7))
    while total < FILE_SECONDS * FRAMES_PER_SECOND:
        chosen = syllables[int(rng.integers(len(syllables)))]
        if rng.random() < 0.6:  # a part of it: shorter syllables
            n = len(chosen[0])
            size = int(n * rng.uniform(0.25, 0.8))
            at = int(rng.integers(0, n - size + 1))
            chosen = (chosen[0][at : at + size], chosen[1][at : at + size], chosen[2][at : at + size])
        n_frames = max(16, int(len(chosen[0]) * rng.uniform(0.8, 1.7) * slow))
        frames.append(stretch(chosen, n_frames))
        places.append(melody.line(n_frames))
        edge = np.minimum(np.arange(n_frames), np.arange(n_frames)[::-1])
        loudness.append(np.clip(0.25 + edge / 8.0, 0, 1) * rng.uniform(0.5, 1.0))
        total, left = total + n_frames, left - 1
        if left <= 0:
            left, rest = int(rng.integers(2, 7)), int(rng.uniform(0.1, 1.8) * FRAMES_PER_SECOND)
            frames.append(
                (np.zeros(rest, bool), np.full((rest, 1025), 1e-12, np.float32), np.ones((rest, 1025), np.float32))
            )
            places.append(np.full(rest, melody.place))
            loudness.append(np.zeros(rest))
            total += rest
    voiced, envelope, noise = (np.concatenate(part) for part in zip(*frames, strict=True))
    return (voiced, envelope, noise), np.concatenate(places), smooth(np.concatenate(loudness), 5)


def file_of_song(
    syllables: list[Syllable], centre: float, rng: np.random.Generator, slow: float, takes_share: float
) -> np.ndarray:
    """Make one file, float32 stereo `[n, 2]`: a lead, and with the chance `takes_share` more takes."""
    melody = Melody(rng, centre)
    frames, places, loudness = join(syllables, melody, rng, slow)
    formant = float(np.exp(rng.uniform(*FORMANT_RANGE)))
    lead = synthesise(frames, melody.pitch(places, 0, 0.0), loudness, formant)
    stereo = np.stack([lead, lead], axis=1)
    if rng.random() < takes_share:
        for shift in rng.choice([-5, -3, -2, 0, 0, 2, 2, 4, 5], size=int(rng.integers(1, 5)), replace=False):
            take = synthesise(
                frames,
                melody.pitch(places, int(shift), rng.normal(0, 0.06)),
                loudness,
                formant * float(np.exp(rng.normal(0, 0.03))),
            )
            take = np.roll(take, int(rng.uniform(-0.03, 0.03) * SAMPLE_RATE))
            pan, gain = rng.uniform(0.1, 0.9), rng.uniform(0.3, 1.0)
            stereo += gain * take[: len(lead), None] * np.sqrt([1 - pan, pan])
    return stereo * (0.8 / max(1e-6, float(np.abs(stereo).max())))


def sung_syllables(voices: Path, rng: np.random.Generator, count: int, *, low: bool) -> tuple[list[Syllable], float]:
    """Analyse some syllables of one bank, and choose the note to sing around."""
    index = json.loads((voices / "index.json").read_text(encoding="utf-8"))
    notes = {bank: NOTE_OF_BANK[bank.rpartition("_")[2]] for bank in index}
    banks = [bank for bank, note in notes.items() if note <= LOWEST_BANKS or not low]
    bank = banks[int(rng.integers(len(banks)))]
    entries = index[bank]
    syllables = []
    with soundfile.SoundFile(voices / f"{bank}.ogg") as file:
        for i in rng.choice(len(entries), size=count, replace=False):
            _, start, end = entries[i]
            file.seek(start)
            syllables.append(analyse(file.read(end - start), SAMPLE_RATE))
    return [s for s in syllables if s], notes[bank] + (rng.uniform(-5, 0) if low else rng.uniform(-3, 3))


def spoken_syllables(speech: Path, rng: np.random.Generator, count: int, *, low: bool) -> tuple[list[Syllable], float]:
    """Analyse some stretches of one package's speech, and choose the note to sing around."""
    files = sorted(speech.glob("*.npy"))
    samples = np.load(files[int(rng.integers(len(files)))], mmap_mode="r")
    size = int(1.5 * SAMPLE_RATE)
    starts = rng.integers(0, len(samples) - size, count)
    near = int(rng.integers(0, max(1, len(samples) - 200 * SAMPLE_RATE)))  # mostly the same speaker
    starts = near + starts % min(200 * SAMPLE_RATE, len(samples) - size - near)
    found = [analyse(np.asarray(samples[s : s + size, 0], dtype=np.float32) / 32768, SAMPLE_RATE) for s in starts]
    return [s for s in found if s], rng.uniform(*LOW_CENTRES) if low else rng.uniform(48, 72)


def write(target: Path, stereo: np.ndarray) -> None:
    """Write float samples as int16, and show the file once it is whole: a training may be reading the folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    with part.open("wb") as file:
        np.save(file, np.round(stereo * 32767).astype(np.int16))
    part.replace(target)


def main() -> None:
    """Sing until there are HOURS of it."""
    voices, speech, out = (Path(argument) for argument in sys.argv[1:4])
    hours, seed = float(sys.argv[4]), int(sys.argv[5]) if len(sys.argv) > 5 else 0
    rng = np.random.default_rng(seed)
    done, number, began = 0.0, 0, time.monotonic()
    while done < hours * 3600:
        spoken = rng.random() < SPEECH_SHARE
        low = rng.random() < LOW_SHARE
        if spoken:
            syllables, centre = spoken_syllables(speech, rng, 24, low=low)
        else:
            syllables, centre = sung_syllables(voices, rng, 24, low=low)
        if len(syllables) < 5:
            continue
        for _ in range(3):
            held = rng.random() < HELD_SHARE
            slow = rng.uniform(*(HELD_SLOWNESS if held else SLOWNESS)) * (1.3 if spoken else 0.85)
            takes_share = 1.0 if held else TAKES_SHARE
            stereo = file_of_song(syllables, centre + rng.uniform(-4, 4), rng, slow, takes_share)
            target = out / ("spoken" if spoken else "sung") / f"{seed:03d}_{number:04d}.npy"
            write(target, stereo)
            done, number = done + len(stereo) / SAMPLE_RATE, number + 1
        sys.stdout.write(f"{done / 60:.1f} min sung in {(time.monotonic() - began) / 60:.1f} min\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
