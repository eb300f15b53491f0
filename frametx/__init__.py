"""frametx: vocal separation with the FrameTransformer networks.

Axis letters, everywhere in the package:
    b batch, c channel, f frequency bin, t frame (STFT column), n sample, a attention map, h head

The public API is `Separator`, `separate_song` and `load_model`; `WindowOptions` (with `Rule`), `OutputOptions` and `Stem`,
which say what they should do; `Result`, which says what they did; and `FrametxError`, the base of all expected errors,
whose kinds are in `frametx.errors`. They are imported on first use, because most need torch and `frametx --help` does not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frametx.ensemble import Rule
    from frametx.errors import FrametxError
    from frametx.outputs import OutputOptions, Stem
    from frametx.separator import Result, Separator, separate_song
    from frametx.snapshots import load_model
    from frametx.windows import WindowOptions

__version__ = "0.1.0"
__all__ = [
    "FrametxError",
    "OutputOptions",
    "Result",
    "Rule",
    "Separator",
    "Stem",
    "WindowOptions",
    "__version__",
    "load_model",
    "separate_song",
]

_MODULES = {
    "FrametxError": "frametx.errors",
    "OutputOptions": "frametx.outputs",
    "Result": "frametx.separator",
    "Rule": "frametx.ensemble",
    "Separator": "frametx.separator",
    "Stem": "frametx.outputs",
    "WindowOptions": "frametx.windows",
    "load_model": "frametx.snapshots",
    "separate_song": "frametx.separator",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'frametx' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names too, before their first use: completion and help() look here."""
    return sorted({*globals(), *__all__})
