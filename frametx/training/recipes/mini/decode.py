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
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soxr

from frametx.audio.reader import SongReader, probe
from frametx.errors import AudioError

SAMPLE_RATE = 44100
MUSIC = {
    "ufoai-music": "",
    "warzone2100-music": "",
    "nexuiz-music": "",
    "singularity-music": "",
    "hyperrogue-music": "",
    "asc-music": "",
    "fretsonfire-songs-muldjord": "",
    "fretsonfire-songs-sectoid": "",
    "freeorion-data": "sound/",
    "megaglest-data": "music/",
    "naev-data": "music/",
    "redeclipse-data": "music/",
    "supertux-data": "music/",
    "supertuxkart-data": "music/",
    "unknown-horizons": "music/",
    "warmux-data": "music/",
    "wesnoth-1.16-music": "",
    "widelands-data": "music/",
    "a7xpg-data": "",
    "adonthell-data": "",
    "ardentryst": "music/",
    "berusky2-data": "music/",
    "colobot-common-sounds": "music/",
    "extremetuxracer-data": "music/",
    "flare-game": "music/",
    "freecol": "music/",
    "frozen-bubble-data": "",
    "gunroar-data": "",
    "lincity-ng-data": "music/",
    "lugaru-data": "",
    "mu-cade-data": "",
    "noiz2sa-data": "",
    "openclonk-data": "",
    "parsec47-data": "",
    "pathological": "",
    "pinball-data": "",
    "planetblupi-music-ogg": "music00[01246]",
    "powermanga-data": "",
    "rrootage-data": "",
    "scorched3d-data": "music/",
    "starfighter-data": "music/",
    "titanion-data": "",
    "torus-trooper-data": "",
    "trackballs-data": "music/tb_",
    "tumiki-fighters-data": "",
    "tuxfootball": "",
    "xmoto-data": "music/",
}
"""Packages with the pattern of their songs' paths, in lower case. Planet Blupi's are long and alike, so half of them do."""
VOICES_HEARD = ("nunc_dimittis", "Boom_boom_boom", "aminos-together", "asak-jadeflange")
"""Left out, in part by their titles alone: somebody may sing in them."""
SPEECH = ("fillets-ng-data-cs", "fillets-ng-data-nl", "festvox-ru")
NARROW = tuple(f"asterisk-core-sounds-{language}-g722" for language in ("en", "fr", "it", "ru"))
"""Recorded at 16 kHz: few enough that no network learns that voices end at 8 kHz."""
SPEAKERS = dict.fromkeys(NARROW, r"/sounds/([^/]+)/") | {
    "0ad-data": r"/voice/(?!global)([^/]+)/.*/civ_((?:fe)?male)",
    "gcin-voice": r"/([35])\.ogg$",
    "hedgewars-data": r"/voices/(?!Robot)([^/]+)/",
    "klettres-data": r"/klettres/(?!(?:es|he|nb|tn)/)([^/]+)/",
    "ktuberling-data": r"/sounds/(da|de|el|en|fr|gl|lt|nn|sl|uk|wa)/",
    "megaglest-data": r"/([^/]+)/units/(?!chicken|thunderbird|[^/]*berserk)([^/]+)/sounds/[^/]*(?:select|ack|click|command)",
    "nexuiz-data": r"/sound/(?:player/([^/]+)|(tutorial)|announcer/(male))/",
    "redeclipse-data": r"/sounds/(announcer)/",
    "trigger-rally-data": r"/codriver/(paula|tim)/",
    "tuxpaint-stamps-default": r"_desc_(be|bg|ca|da|el|ro|ru)\.ogg$",
    "ufoai-sound": r"/sound/(soldiers|civilians)/",
    "unknown-horizons": r"/voice/([^/]+)/",
    "warmux-data": r"/(voices)/",
}
"""Packages with the pattern of their utterances' paths, whose groups name the speaker; those below 44.1 kHz are left
out, but for the narrow ones. The languages that are missing hiss, are clipped, or are too short."""
VALIDATION = ("4.Potassium", "6.Caesium")
SPEECH_SECONDS = 1800
SPEAKER_SECONDS = 8  # a speaker with less is left out
SUFFIXES = (".ogg", ".wav", ".opus", ".mp3", ".g722")
SHORTEST = 6000  # samples of an utterance
SHORTEST_SONG = 30  # seconds
SMALLEST_SONG = 400_000  # bytes; below it are sound effects and jingles


def decode(path: Path, channels: int) -> np.ndarray:
    """Return a file as float32 `[samples, channels]` at 44.1 kHz."""
    reader = SongReader(path)
    samples = np.concatenate(list(reader.blocks()), axis=1).T
    if reader.sample_rate != SAMPLE_RATE:
        samples = soxr.resample(samples, reader.sample_rate, SAMPLE_RATE)
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
    if len(samples) < SHORTEST_SONG * SAMPLE_RATE:
        return 0.0
    guitar = source.with_name("guitar.ogg")
    if source.name == "song.ogg" and guitar.is_file():
        other = decode(guitar, 2)
        n = min(len(samples), len(other))
        samples = samples[:n] + other[:n]
        samples /= max(1.0, float(np.abs(samples).max()))
    save(target, samples)
    return len(samples) / SAMPLE_RATE


def speech(job: tuple[list[Path], Path]) -> float:
    """Join one speaker's utterances, each at the same peak and without the silence around it, up to half an hour."""
    files, target = job
    random.Random(0).shuffle(files)  # noqa: S311  (an order, no secret)
    parts: list[np.ndarray] = []
    total = 0
    for path in files:
        try:
            samples = decode(path, 1)
        except AudioError:
            continue
        peak = float(np.abs(samples).max(initial=0))
        if len(samples) < SHORTEST or peak < 0.01:
            continue
        heard = np.flatnonzero(np.abs(samples) > 0.01 * peak)
        samples = samples[heard[0] : heard[-1] + 1]
        parts.append(samples * (0.7 / peak))
        total += len(samples)
        if total > SPEECH_SECONDS * SAMPLE_RATE:
            break
    if total < SPEAKER_SECONDS * SAMPLE_RATE:
        return 0.0
    save(target, np.concatenate(parts))
    return total / SAMPLE_RATE


def files_of(package: Path) -> list[Path]:
    """List a package's recordings."""
    return sorted(p for p in package.rglob("*") if p.suffix in SUFFIXES and not p.is_symlink())


def songs_of(package: Path, pattern: str) -> list[tuple[Path, str]]:
    """List the songs of a package, whose paths match the pattern, with their names."""
    return [
        (path, (path.parent.name if path.name == "song.ogg" else path.stem).replace(" ", "-"))
        for path in files_of(package)
        if re.search(pattern, path.relative_to(package).as_posix().lower())
        and path.suffix != ".wav"
        and path.name != "guitar.ogg"
        and path.stat().st_size >= SMALLEST_SONG
        and not path.stem.startswith(VOICES_HEARD)
    ]


def speakers_of(package: Path, pattern: str) -> dict[str, list[Path]]:
    """Sort the utterances of a package by speaker."""
    found: dict[str, list[Path]] = {}
    for path in files_of(package):
        match = re.search(pattern, "/" + path.relative_to(package).as_posix())
        if match and (package.name in NARROW or probe(path).sample_rate >= SAMPLE_RATE):
            found.setdefault("-".join(group for group in match.groups() if group), []).append(path)
    return found


def main() -> None:
    """Decode everything, two files at a time."""
    source, songs, out = (Path(argument) for argument in sys.argv[1:4])
    jobs = []
    for path in sorted(songs.glob("*.ogg")):
        folder = "valid" if path.name.startswith(VALIDATION) else "pairs"
        jobs.append((path, out / folder / f"{path.stem}.npy"))
    for package, pattern in MUSIC.items():
        for path, name in songs_of(source / package, pattern):
            jobs.append((path, out / "instrumentals" / f"{package}__{name}.npy"))
    spoken = [(files_of(source / package), out / "speech" / f"{package}.npy") for package in SPEECH]
    for package, pattern in SPEAKERS.items():
        for speaker, files in speakers_of(source / package, pattern).items():
            spoken.append((files, out / "speech" / f"{package}__{speaker}.npy"))
    with ProcessPoolExecutor(2) as pool:
        seconds = sum(pool.map(music, jobs))
        sys.stdout.write(f"{len(jobs)} songs, {seconds / 3600:.2f} hours\n")
        seconds = sum(pool.map(speech, spoken))
        sys.stdout.write(f"{len(spoken)} speakers, {seconds / 3600:.2f} hours\n")


if __name__ == "__main__":
    main()
