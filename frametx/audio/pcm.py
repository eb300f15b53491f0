"""Float samples to integers and nothing else: no dither, no level change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def quantise(samples: NDArray[np.float32], bits: int) -> NDArray[np.int32]:
    """Round to the nearest integer of `bits` bits, half to even, and don't saturate.

    A sample that came from an integer of `bits` bits becomes that integer again. Left unsaturated, the quantised
    stems can be made to add up to the quantised song exactly before they are cut to what a file holds.

    Args:
        samples: `[c n]`, full scale is 1.0. Finite.
        bits: 16 or 24.

    Returns:
        `[c n]`, full scale is `2 ** (bits - 1)`. Values beyond the int32 range stop at it.
    """
    # float64: 24-bit integers fill float32's mantissa, so the halves of a louder sample could not be told apart
    scaled = np.rint(np.multiply(samples, float(2 ** (bits - 1)), dtype=np.float64))
    if scaled.size and max(scaled.max(), -scaled.min()) >= 2**31:
        np.clip(scaled, -(2**31), 2**31 - 1, out=scaled)
    return scaled.astype(np.int32)


def saturate(samples: NDArray[np.integer[Any]], bits: int) -> tuple[NDArray[np.int32], int]:
    """Cut to what `bits` bits can hold.

    Args:
        samples: `[c n]` integers, full scale is `2 ** (bits - 1)`.
        bits: 16 or 24.

    Returns:
        The samples, and how many of them were changed.
    """
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    as_int32 = samples.astype(np.int32, copy=False)
    if not as_int32.size or (as_int32.min() >= low and as_int32.max() <= high):
        return as_int32, 0
    n_clipped = int(np.count_nonzero((as_int32 < low) | (as_int32 > high)))
    return np.clip(as_int32, low, high), n_clipped
