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
    # Exact in float32: scaling by a power of two loses nothing, nor does rounding, as 24 bits fill the mantissa.
    scaled = np.multiply(samples, np.float32(2 ** (bits - 1)), dtype=np.float32)
    np.rint(scaled, out=scaled)
    if scaled.size and max(scaled.max(), -scaled.min()) >= 2**31:
        limited = np.clip(scaled.astype(np.float64), -(2**31), 2**31 - 1)  # float32 has no 2**31 - 1
        return limited.astype(np.int32)
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
