"""Let a neural speech synthesiser sing: durations and pitch are set from outside (package onnxruntime).

    python neural_singers.py KOKORO OUT HOURS [SEED]

KOKORO holds `timing.onnx`, `voicing.onnx` and `sing.onnx`, which `split_kokoro.py` wrote, and the `voices/*.bin` of
npm's kokoro-js. OUT receives `.npy` files, int16 stereo at 44.1 kHz of about half a minute each.

Words are random syllables. Their vowels are held as long as notes, the melody replaces the predicted pitch wherever that
is voiced. Two files of five are sung by a blend of two voices: a singer that nobody is.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped,import-not-found,unused-ignore]
import soxr

from frametx.training.recipes.mini.resing import FRAMES_PER_SECOND, SAMPLE_RATE, Melody, write

SYNTHESIS_RATE = 24000
PITCH_HZ = 80.0
"""Frames of the pitch in a second, two for each frame of the durations."""
SOUNDS = "AIOQWYabcdefhijklmnopqrstuvwxyzɑɐɒæβɔɕçðʤəɚɛɜɡɪŋɲøθœɹɾʁʃʧʊʌʎʒˈˌː"
NUMBERS = [24, 25, 31, 33, 39, 41, *range(43, 49), *range(50, 73), 75, 76, 77, 78, 81, 82, 83, 85, 86, 87, 92, 102, 112]
NUMBERS += [114, 116, 119, 120, 123, 125, 128, 131, 133, 135, 138, 143, 147, 156, 157, 158]
TOKENS = dict(zip(SOUNDS, NUMBERS, strict=True))
"""What the network calls each sound: a part of its vocabulary."""
SPACE, COMMA = 16, 3
VOWELS = "AIOWYaeiouɑɐɔəɚɛɜɪøœʊʌæ"
SONORANTS = "lmnŋɹz"
ONSETS = ["", "", *"bdfhjklmnpɹstvwzðʃʒʧʤθɡɲɾʁ", "bl", "fl", "st", "tɹ", "sw", "ɡɹ", "kw", "pl"]
CODAS = ["", "", "", "", *"nlmstzŋɹdkv", "nd", "ts"]
HELD_SHARE = 0.15
TAKES_SHARE = 0.1
BLENDED_SHARE = 0.4
SAME_SINGER_SHARE = 0.4
"""Of the further takes; the others are sung by another voice."""
SLOWNESS = (0.7, 2.2)
HELD_SLOWNESS = (3.0, 7.0)
NOTE_FRAMES, LONGEST_NOTE = 9.0, 130
"""Of 25 ms: the median of a vowel's length at slowness 1, and the most."""
ABOVE_SPEECH = (-3.0, 10.0)  # semitones
VOICED_HZ = 40.0
FILE_SECONDS = 30.0
FOLD_BINS, FOLD_SIZE, FOLD_HOP = 280, 2048, 512
"""Six kilohertz; a multiple of size / hop, so that the phases of what is copied up go on from frame to frame."""
FOLD_FROM_HZ = 11000.0


class Synthesiser:
    """The parts of the network, on one thread."""

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.parts = {
            part: onnxruntime.InferenceSession(folder / f"{part}.onnx", options)
            for part in ("timing", "voicing", "sing")
        }

    def run(self, part: str, **inputs: np.ndarray) -> np.ndarray:
        """Return what one part makes of its inputs."""
        return np.asarray(self.parts[part].run(None, inputs)[0])

    def plan(self, text: str, voice: np.ndarray, slow: float, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Return tokens `[1 n]`, durations `[1 n]` in frames, vowels as long as notes, and the pitch `[t]` in Hz."""
        tokens = np.array([[0, *(SPACE if c == " " else TOKENS[c] for c in text), COMMA, 0]])
        style = style_of(voice, text)
        spoken = self.run("timing", tokens=tokens, style=style, speed=np.array([1.0], np.float32))
        durations = spoken.copy()
        for i, sound in enumerate(text, start=1):
            if sound in VOWELS:
                note = slow * np.exp(rng.normal(np.log(NOTE_FRAMES), 0.6))
                durations[0, i] = int(np.clip(note, spoken[0, i], LONGEST_NOTE))
            elif sound in SONORANTS:
                durations[0, i] = round(spoken[0, i] * rng.uniform(1.0, 1.8))
            elif sound == " " and rng.random() < 0.7:
                durations[0, i] = min(2, spoken[0, i])
        durations[0, [0, -1]] = 4
        durations[0, -2] = min(6, durations[0, -2])
        return tokens, durations, self.run("voicing", tokens=tokens, style=style, durations=durations)[0]


def style_of(voice: np.ndarray, text: str) -> np.ndarray:
    """Return the style `[1 256]` that a voice has for phrases of this length."""
    return np.asarray(voice[min(len(text), len(voice) - 1)][None])


def words(rng: np.random.Generator, most: int) -> str:
    """Return random syllables, with a space between words and one stress in each."""
    out = []
    for _ in range(int(rng.integers(2, most))):
        n = int(rng.choice([1, 1, 1, 2, 2, 3]))
        stressed = int(rng.integers(n))
        for k in range(n):
            long = "ː" if rng.random() < 0.25 else ""
            vowel = VOWELS[int(rng.integers(len(VOWELS)))]
            out.append(f"{ONSETS[int(rng.integers(len(ONSETS)))]}{'ˈ' if k == stressed else ''}{vowel}{long}")
            out.append(CODAS[int(rng.integers(len(CODAS)))])
        out.append(" ")
    return "".join(out[:-1])


def semitones(hz: np.ndarray) -> float:
    """Return the median pitch of what is voiced, in MIDI notes."""
    voiced = hz[hz > VOICED_HZ]
    return float(69 + 12 * np.log2(np.median(voiced) / 440)) if len(voiced) else 52.0


def folded(mono: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give a voice that ends at 12 kHz what lies above: the six kilohertz below that, softer."""
    window = np.hanning(FOLD_SIZE + 1)[:-1].astype(np.float32)
    padded = np.pad(mono, (FOLD_SIZE, 2 * FOLD_SIZE))
    starts = np.arange(0, len(padded) - FOLD_SIZE, FOLD_HOP)
    spectra = np.fft.rfft(padded[starts[:, None] + np.arange(FOLD_SIZE)] * window)
    top = int(FOLD_FROM_HZ / SAMPLE_RATE * FOLD_SIZE)
    softer = 10 ** (-(rng.uniform(3, 12) + np.linspace(0, 12, FOLD_BINS)) / 20)
    spectra[:, top : top + FOLD_BINS] = spectra[:, top - FOLD_BINS : top] * softer
    spectra[:, top + FOLD_BINS :] = 0
    out = np.zeros(len(padded), np.float32)
    for start, piece in zip(starts, np.fft.irfft(spectra).astype(np.float32) * window, strict=True):
        out[start : start + FOLD_SIZE] += piece
    return np.asarray(out[FOLD_SIZE : FOLD_SIZE + len(mono)] / 1.5)


def sung(
    synthesiser: Synthesiser, voices: list[np.ndarray], natural: float, rng: np.random.Generator, *, held: bool
) -> np.ndarray:
    """Make one file, float32 stereo `[n 2]`: the first voice leads, every other sings a line beside it, panned and late."""
    melody = Melody(rng, natural + rng.uniform(*ABOVE_SPEECH))
    slow = rng.uniform(*(HELD_SLOWNESS if held else SLOWNESS))
    steps = [0, *rng.choice([-5, -4, -3, -2, 0, 2, 2, 4, 5], len(voices) - 1, replace=False)]
    places = [(rng.uniform(0.1, 0.9), rng.uniform(0.3, 1.0), rng.normal(0, 0.06), rng.uniform(0, 0.04)) for _ in voices]
    places[0] = (0.5, 1.0, 0.0, 0.0)
    pieces: list[np.ndarray] = []
    total = 0
    while total < FILE_SECONDS * SAMPLE_RATE:
        text = words(rng, 4 if held else 8)
        tokens, durations, predicted = synthesiser.plan(text, voices[0], slow, rng)
        frames = FRAMES_PER_SECOND / PITCH_HZ
        groups = np.add.reduceat(durations[0], np.arange(0, durations.shape[1], 3))  # syllables, nearly
        line = np.concatenate([melody.line(max(1, round(2 * frames * n))) for n in groups])
        index = np.minimum((np.arange(len(predicted)) * frames).astype(int), len(line) - 1)
        takes = []
        for voice, step, (pan, gain, detune, late) in zip(voices, steps, places, strict=True):
            pitch = melody.pitch(line, int(step), detune)[index]
            f0 = np.where(predicted > VOICED_HZ, 440 * 2 ** ((pitch - 69) / 12), predicted)[None].astype(np.float32)
            wave = synthesiser.run("sing", tokens=tokens, style=style_of(voice, text), durations=durations, f0=f0)
            wave = soxr.resample(wave.ravel(), SYNTHESIS_RATE, SAMPLE_RATE)
            wave = np.pad(wave, (int(late * SAMPLE_RATE), 0))[: len(wave)]
            takes.append(gain * wave[:, None] * np.sqrt([2 * (1 - pan), 2 * pan]))
        rest = int(rng.uniform(0.0, 0.9) * SAMPLE_RATE)
        pieces += [np.sum(takes, axis=0), np.zeros((rest, 2))]
        total += len(pieces[-2]) + rest
    stereo = np.concatenate(pieces).astype(np.float32)
    if len(voices) == 1:
        stereo = folded(stereo[:, 0], rng)[:, None].repeat(2, axis=1)
    else:
        stereo = np.stack([folded(stereo[:, channel], rng) for channel in (0, 1)], axis=1)
    return stereo * (0.8 / max(1e-6, float(np.abs(stereo).max())))


def main() -> None:
    """Sing until there are HOURS of it, every voice in turn."""
    folder, out, hours = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    rng = np.random.default_rng(seed)
    synthesiser = Synthesiser(folder)
    voices = [np.fromfile(path, np.float32).reshape(-1, 256) for path in sorted((folder / "voices").glob("*.bin"))]
    done, number, began = 0.0, 0, time.monotonic()
    turns: list[int] = []
    while done < hours * 3600:
        turns = turns or list(rng.permutation(len(voices)))
        voice = voices[turns.pop()]
        if rng.random() < BLENDED_SHARE:
            share = np.float32(rng.uniform(0.35, 0.65))
            voice = share * voice + (1 - share) * voices[int(rng.integers(len(voices)))]
        held = rng.random() < HELD_SHARE
        others = int(rng.integers(2, 4)) if held else int(rng.random() < TAKES_SHARE)
        more = [
            voice if rng.random() < SAME_SINGER_SHARE else voices[int(rng.integers(len(voices)))] for _ in range(others)
        ]
        _, _, predicted = synthesiser.plan(words(rng, 8), voice, 1.0, rng)
        stereo = sung(synthesiser, [voice, *more], semitones(predicted), rng, held=held)
        write(out / f"{seed:03d}_{number:04d}.npy", stereo)
        done, number = done + len(stereo) / SAMPLE_RATE, number + 1
        sys.stdout.write(f"{done / 60:.1f} min sung in {(time.monotonic() - began) / 60:.1f} min\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
