"""Decode the free music and speech of the recipe to memory-mappable arrays.

    python decode.py MUSIC SONGS OUT      MUSIC: unpacked packages, a folder each; SONGS: the folder of CC0 stems

Every output is a `.npy` of int16, `[samples, channels]` at 44.1 kHz, which `frametx train` maps instead of decoding:

    OUT/instrumentals   real music without voices, stereo
    OUT/pairs           the CC0 songs, `*_vocals` and `*_accompaniment`, stereo; the two validation songs are left out
    OUT/valid           the two validation songs
    OUT/speech          speech, mono: one file a package or speaker, utterances in a random order
"""

from __future__ import annotations

import random
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr

SAMPLE_RATE = 44100
MUSIC = (
    "ufoai-music",
    "warzone2100-music",
    "nexuiz-music",
    "singularity-music",
    "hyperrogue-music",
    "asc-music",
    "fretsonfire-songs-muldjord",
    "fretsonfire-songs-sectoid",
)
SPEECH = ("klettres-data", "ktuberling-data", "fillets-ng-data-cs", "fillets-ng-data-nl", "festvox-ru")
SPEAKERS = {"hedgewars-data": "voices", "unknown-horizons": "voice"}
"""Packages with the folder that holds a folder for each speaker."""
NO_SPEAKERS = ("Robot",)
VALIDATION = ("4.Potassium", "6.Caesium")
SPEECH_SECONDS = 1800
SHORTEST = 6000  # samples of an utterance
SMALLEST_SONG = 400_000  # bytes; below it are sound effects and jingles


def decode(path: Path, channels: int) -> np.ndarray:
    """Return a file as float32 `[samples, channels]` at 44.1 kHz."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    if samples.shape[1] != channels:
        samples = samples.mean(axis=1, keepdims=True).repeat(channels, axis=1)
    return np.asarray(samples)


def save(target: Path, samples: np.ndarray) -> None:
    """Write float samples as int16."""
    target.parent.mkdir(parents=True, exist_ok=True)
    np.save(target, np.clip(np.round(samples * 32767), -32768, 32767).astype(np.int16))


def music(job: tuple[Path, Path]) -> float:
    """Decode one song; a Frets on Fire song is its backing and its guitar together."""
    source, target = job
    samples = decode(source, 2)
    guitar = source.with_name("guitar.ogg")
    if source.name == "song.ogg" and guitar.is_file():
        other = decode(guitar, 2)
        n = min(len(samples), len(other))
        samples = samples[:n] + other[:n]
        samples /= max(1.0, float(np.abs(samples).max()))
    save(target, samples)
    return len(samples) / SAMPLE_RATE


def speech(job: tuple[Path, Path]) -> float:
    """Join a package's utterances, each at the same peak, up to half an hour."""
    folder, target = job
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".ogg", ".wav", ".opus"))
    random.Random(0).shuffle(files)  # noqa: S311  (an order, no secret)
    parts: list[np.ndarray] = []
    total = 0
    for path in files:
        try:
            samples = decode(path, 1)
        except soundfile.LibsndfileError:
            continue
        peak = float(np.abs(samples).max(initial=0))
        if len(samples) < SHORTEST or peak < 0.01:
            continue
        parts.append(samples * (0.7 / peak))
        total += len(samples)
        if total > SPEECH_SECONDS * SAMPLE_RATE:
            break
    save(target, np.concatenate(parts))
    return total / SAMPLE_RATE


def main() -> None:
    """Decode everything, two files at a time."""
    source, songs, out = (Path(argument) for argument in sys.argv[1:4])
    jobs = []
    for path in sorted(songs.glob("*.ogg")):
        folder = "valid" if path.name.startswith(VALIDATION) else "pairs"
        jobs.append((path, out / folder / f"{path.stem}.npy"))
    for package in MUSIC:
        for path in sorted((source / package).rglob("*")):
            if path.suffix not in (".ogg", ".opus", ".mp3") or path.name == "guitar.ogg":
                continue
            if path.stat().st_size >= SMALLEST_SONG:
                name = path.parent.name if path.name == "song.ogg" else path.stem
                jobs.append((path, out / "instrumentals" / f"{package}__{name.replace(' ', '-')}.npy"))
    spoken = [(source / package, out / "speech" / f"{package}.npy") for package in SPEECH]
    for package, parent in SPEAKERS.items():
        folders = sorted((source / package).rglob(f"{parent}/*/"))
        spoken += [(f, out / "speech" / f"{package}__{f.name}.npy") for f in folders if f.name not in NO_SPEAKERS]
    with ProcessPoolExecutor(2) as pool:
        seconds = sum(pool.map(music, jobs))
        sys.stdout.write(f"{len(jobs)} songs, {seconds / 3600:.2f} hours\n")
        seconds = sum(pool.map(speech, spoken))
        sys.stdout.write(f"{len(spoken)} files of speech, {seconds / 3600:.2f} hours\n")


if __name__ == "__main__":
    main()
