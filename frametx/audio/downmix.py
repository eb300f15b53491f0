"""More than two channels to two.

Each speaker goes to the left and the right with the weight ITU-R BS.775 gives it: fronts 1, centre and surrounds 0.707
(-3 dB), a rear centre 0.5 to both sides; the bass-effects channel (LFE) is dropped, as it is there. The whole is then
divided by the largest sum of weights, so that a downmix can never clip. It is the only place where a level changes
unasked, and the reader says so in its notes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_HALF_POWER = 0.5**0.5

# FFmpeg's speaker names: weight to the left, weight to the right
_WEIGHTS: dict[str, tuple[float, float]] = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FC": (_HALF_POWER, _HALF_POWER),
    "LFE": (0.0, 0.0),
    "LFE2": (0.0, 0.0),
    "BL": (_HALF_POWER, 0.0),
    "BR": (0.0, _HALF_POWER),
    "SL": (_HALF_POWER, 0.0),
    "SR": (0.0, _HALF_POWER),
    "BC": (0.5, 0.5),
    "FLC": (_HALF_POWER, 0.0),
    "FRC": (0.0, _HALF_POWER),
    "WL": (_HALF_POWER, 0.0),
    "WR": (0.0, _HALF_POWER),
}

# The order of WAVE and FLAC files by their number of channels (RFC 9639, section 9.1.3)
SPEAKERS_BY_COUNT: dict[int, tuple[str, ...]] = {
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}


def downmix_matrix(speakers: Sequence[str]) -> NDArray[np.float32]:
    """Weights from `speakers` to left and right, `[2 c]`; every row's sum is at most 1.

    Raises:
        KeyError: No speakers, or one whose place is not known.
    """
    if not speakers:
        raise KeyError("no speakers")
    weights = np.array([_WEIGHTS[speaker] for speaker in speakers], dtype=np.float64).T
    matrix: NDArray[np.float32] = (weights / max(1.0, weights.sum(axis=1).max())).astype(np.float32)
    return matrix


def describe_downmix(speakers: Sequence[str], matrix: NDArray[np.float32]) -> str:
    """One line for the reader's notes."""
    level_db = 20 * np.log10(float(matrix.max()))
    dropped = ", LFE dropped" if any(speaker.startswith("LFE") for speaker in speakers) else ""
    return (
        f"{len(speakers)} channels ({' '.join(speakers)}) mixed down to stereo by ITU-R BS.775{dropped}; "
        f"fronts at {level_db:.1f} dB so that nothing can clip"
    )
