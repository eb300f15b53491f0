"""Let the voices of Festival and Flite say random words: more speakers for `resing.py` (Debian's packages festival, flite).

    python diphone_speakers.py OUT MINUTES [SEED]

OUT receives one `.npy` a voice, int16 mono at 44.1 kHz, as `decode.py` writes speech. They speak at 16 to 32 kHz; most are
put together from recorded pairs of sounds, at a steady pitch, which a melody replaces afterwards.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from frametx.training.recipes.mini.decode import SAMPLE_RATE, decode, save

Sounds = tuple[str, str, tuple[str, ...]]  # consonants, vowels, endings
LATIN: Sounds = ("bdfgklmnprstvz", "aeiou", ("", "", "", "n", "s", "l", "r"))
DEVANAGARI: Sounds = ("बदगकलमनपरसतवह", "ािीेोु", ("",))
TELUGU: Sounds = ("బదగకలమనపరసతవహ", "ాిీేోు", ("",))
FESTIVAL = dict.fromkeys(
    (
        "ked_diphone",
        "kal_diphone",
        "cmu_us_slt_arctic_hts",
        "lp_diphone",
        "pc_diphone",
        "czech_dita",
        "czech_krb",
        "czech_machac",
        "czech_ph",
        "suo_fi_lj_diphone",
        "hy_fi_mv_diphone",
        "upc_ca_ona_hts",
    ),
    LATIN,
) | {
    "hindi_NSK_diphone": DEVANAGARI,
    "marathi_NSK_diphone": DEVANAGARI,
    "telugu_NSK_diphone": TELUGU,
}
"""Voices of the packages festvox-* with the sounds of their words."""
FLITE = ("awb", "rms")
SENTENCES = 12  # in one go
LOUD = 0.01


def sentence(sounds: Sounds, rng: random.Random) -> str:
    """Return some words of one to three syllables."""
    onsets, vowels, codas = sounds
    words = (
        "".join(rng.choice(onsets) + rng.choice(vowels) + rng.choice(codas) for _ in range(rng.randint(1, 3)))
        for _ in range(rng.randint(4, 8))
    )
    return " ".join(words) + "."


def spoken(voice: str, sounds: Sounds, rng: random.Random, folder: Path) -> np.ndarray:
    """Return what a voice makes of some sentences, float32 `[samples 1]`, without the silence around it."""
    text, wave = folder / "words.txt", folder / "words.wav"
    text.write_text("\n".join(sentence(sounds, rng) for _ in range(SENTENCES)) + "\n", encoding="utf-8")
    if voice in FLITE:
        command = ["flite", "-voice", voice, "-f", str(text), "-o", str(wave)]
    else:
        command = ["text2wave", "-eval", f"(voice_{voice})", "-o", str(wave), str(text)]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603  (programs of our choice)
    samples = decode(wave, 1)
    heard = np.flatnonzero(np.abs(samples[:, 0]) > LOUD * np.abs(samples).max())
    return samples[heard[0] : heard[-1] + 1]


def main() -> None:
    """Write every voice."""
    out, minutes = Path(sys.argv[1]), float(sys.argv[2])
    rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 0)  # noqa: S311  (words, no secret)
    with tempfile.TemporaryDirectory() as folder:
        for voice, sounds in (FESTIVAL | dict.fromkeys(FLITE, LATIN)).items():
            parts: list[np.ndarray] = []
            while sum(map(len, parts)) < minutes * 60 * SAMPLE_RATE:
                parts.append(spoken(voice, sounds, rng, Path(folder)))
            samples = np.concatenate(parts)
            save(out / f"{voice}.npy", samples * (0.7 / np.abs(samples).max()))
            sys.stdout.write(f"{voice}: {len(samples) / SAMPLE_RATE / 60:.1f} min\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
