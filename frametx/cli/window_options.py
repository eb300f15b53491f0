"""From the options of a command to windows and ensemble."""

from __future__ import annotations

from typing import TYPE_CHECKING

from frametx.cli.separate_options import numbers_from
from frametx.errors import UsageError

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
    from frametx.ensemble import Rule  # noqa: PLC0415  (torch)
    from frametx.windows import WindowOptions  # noqa: PLC0415  (torch)

    if compat not in (None, "original"):
        raise UsageError(f"--compat '{compat}' is unknown", "the one choice is --compat original")
    rule = _SYNONYMS.get(ensemble or "", ensemble)
    if rule is not None and rule not in list(Rule):
        raise UsageError(f"--ensemble '{ensemble}' is no rule", "use min, max, mean or median")
    return WindowOptions(
        crop=crop,
        context=context,
        batch_size=batch_size,
        rule=None if rule is None else Rule(rule),
        weights=None if weights is None else numbers_from(weights),
        tta=tta,
        postprocess=postprocess,
        original=compat == "original",
    )
