"""From the options of a command to windows and ensemble."""

from __future__ import annotations

from typing import TYPE_CHECKING

from frametx.errors import UsageError
from frametx.manifest_fields import RULES

if TYPE_CHECKING:
    from frametx.windows import WindowOptions

_SYNONYMS = {"avg": "mean", "average": "mean"}


def window_options(
    *,
    crop: int | None,
    context: int | None,
    batch_size: int | None,
    ensemble: str | None = None,
    weights: str | None = None,
    tta: bool = False,
    postprocess: bool = False,
    compat: str | None = None,
) -> WindowOptions:
    """Check and join the options that say how a song is cut into windows and how masks are joined.

    Raises:
        UsageError: One of them cannot be meant.
    """
    if compat not in (None, "original"):
        raise UsageError(f"--compat '{compat}' is unknown", "the one choice is --compat original")
    rule = _SYNONYMS.get(ensemble or "", ensemble)
    if rule is not None and rule not in RULES:
        raise UsageError(f"--ensemble '{ensemble}' is no rule", "use min, max, mean or median")

    from frametx.ensemble import Rule  # noqa: PLC0415  (torch)
    from frametx.windows import WindowOptions  # noqa: PLC0415  (torch)

    return WindowOptions(
        crop=crop,
        context=context,
        batch_size=batch_size,
        rule=None if rule is None else Rule(rule),
        weights=None if weights is None else _numbers(weights),
        tta=tta,
        postprocess=postprocess,
        original=compat == "original",
    )


def _numbers(text: str) -> tuple[float, ...]:
    """`2,1,1` as numbers."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--weights '{text}' are no numbers", "write them like 2,1,1") from error
