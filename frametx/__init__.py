"""frametx: vocal separation with the FrameTransformer networks.

Axis letters, everywhere in the package:
    b batch, c channel, f frequency bin, t frame (STFT column), n sample, a attention map, h head

The public API is `Separator`, `separate_song` and `load_model`. They are imported on first use, because they need torch
and `frametx --help` does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frametx.separator import Separator, separate_song
    from frametx.snapshots import load_model

__version__ = "0.1.0"
__all__ = ["Separator", "__version__", "load_model", "separate_song"]


def __getattr__(name: str) -> Any:
    if name == "load_model":
        from frametx import snapshots  # noqa: PLC0415  (torch, on first use)

        return snapshots.load_model
    if name in ("Separator", "separate_song"):
        from frametx import separator  # noqa: PLC0415  (torch, on first use)

        return getattr(separator, name)
    raise AttributeError(f"module 'frametx' has no attribute {name!r}")
