"""Errors about files that end or break before their header says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from frametx.errors import AudioError

if TYPE_CHECKING:
    from frametx.audio.info import AudioInfo


def truncated(info: AudioInfo, n_readable: int, n_claimed: int) -> AudioError:
    """Say that a file ends after `n_readable` of the `n_claimed` samples that it promises."""
    return AudioError(
        f"{info.path} is truncated or damaged: its header promises {n_claimed / info.sample_rate:.2f} s of audio, "
        f"{n_readable / info.sample_rate:.2f} s ({n_readable} samples) can be read",
        hint=_way_out(info, n_readable),
    )


def damaged(info: AudioInfo, n_readable: int, n_claimed: int) -> AudioError:
    """Say that a file of `n_claimed` samples cannot be read on after `n_readable`."""
    return AudioError(
        f"{info.path} is damaged near {n_readable / info.sample_rate:.2f} s of {n_claimed / info.sample_rate:.2f} s",
        hint=_way_out(info, n_readable),
    )


def _way_out(info: AudioInfo, n_readable: int) -> str:
    tenths = n_readable * 10 // info.sample_rate
    taken = f", or take what comes before with an end of {tenths / 10:.1f} s" if tenths else ""
    return f"fetch the file again{taken}"
