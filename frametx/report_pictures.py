"""Pictures of a result, by matplotlib: bare spectrograms for the page, and one sheet as a PNG of its own."""

from __future__ import annotations

import base64
import io
import warnings
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from frametx.clock import clock_text
from frametx.report_figures import TRACKS, mel_scale

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from frametx.disagreement import Profile
    from frametx.report_figures import Figures

RANGE_DB = 80.0  # from the loudest bin of the mix down to black
_HEIGHT = 256
_SHADES = 96  # a palette of so many colours halves the files and can't be told from the full one
_COLOURS = {"power": "magma", "mask": "YlGnBu_r"}
VOCALS_COLOUR, MIX_COLOUR, DISAGREEMENT_COLOUR = "#d1495b", "#7d8597", "#2a9d8f"


def spectrograms(figures: Figures, scale: str) -> dict[str, NDArray[np.float64]]:
    """Each track and the mask as values in 0..1, `[rows x]`, the lowest frequency first; the mask is NaN in silence.

    Args:
        figures: What was measured.
        scale: linear or mel.
    """

    def scaled(power: NDArray[np.float64]) -> NDArray[np.float64]:
        return mel_scale(power, figures.sample_rate) if scale == "mel" else _grouped(power, _HEIGHT)

    powers = {track: scaled(figures.power[track]) for track in TRACKS}
    loudest = max(float(powers["mix"].max()), 1e-12)
    pictures = {
        track: np.clip(1.0 + 10.0 * np.log10(np.maximum(power / loudest, 1e-12)) / RANGE_DB, 0.0, 1.0)
        for track, power in powers.items()
    }
    share = np.sqrt(powers["instrumental"] / np.maximum(powers["mix"], 1e-12))
    pictures["mask"] = np.where(pictures["mix"] > 0.0, np.minimum(share, 1.0), np.nan)
    return pictures


def as_data_uri(values: NDArray[np.float64], kind: str) -> str:
    """A picture of values in 0..1, NaN is black, `[rows x]`, as a PNG inside a URI; the lowest row is at the bottom."""
    shades = np.rint(np.nan_to_num(values[::-1]) * (_SHADES - 1)).astype(np.uint8)
    image = Image.fromarray(np.where(np.isnan(values[::-1]), np.uint8(_SHADES), shades))
    palette = mpl.colormaps[_COLOURS[kind]](np.linspace(0.0, 1.0, _SHADES))[:, :3]
    image.putpalette(np.rint(palette * 255).astype(np.uint8).tobytes() + bytes(3))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def write_sheet(figures: Figures, title: str, target: Path, profile: Profile | None = None) -> None:
    """All pictures on one sheet."""
    sheet = Figure(figsize=(16, 13), layout="constrained", facecolor="white")
    n_rows = 5 if profile is None else 6
    axes: Any = sheet.subplots(n_rows, 2, sharex=True, height_ratios=[2.2] * 4 + [1.2] * (n_rows - 4))
    for column, scale in enumerate(("linear", "mel")):
        for row, (track, values) in enumerate(spectrograms(figures, scale).items()):
            _show_spectrogram(axes[row, column], values, figures, track, scale)
        _show_levels(axes[4, column], figures)
        if profile is not None:
            _show_disagreement(axes[5, column], profile)
        axes[-1, column].set_xlabel("time")
    for axis in axes.flat:
        axis.xaxis.set_major_formatter(lambda seconds, _position: clock_text(max(0.0, seconds), 0))
    sheet.suptitle(title, parse_math=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a letter that no font here has becomes a box; nobody can help that
        sheet.savefig(target, dpi=100, format="png")


def _show_spectrogram(axis: Any, values: NDArray[np.float64], figures: Figures, track: str, scale: str) -> None:
    kind = "mask" if track == "mask" else "power"
    top = figures.sample_rate / 2000
    axis.imshow(
        values,
        origin="lower",
        aspect="auto",
        cmap=_COLOURS[kind],
        vmin=0.0,
        vmax=1.0,
        extent=(0.0, figures.seconds, 0.0, top),
        interpolation="nearest",
    )
    axis.set_facecolor("black")
    axis.set_title(f"{track}, {scale}", loc="left", fontsize=9)
    if scale == "linear":
        axis.set_ylabel("kHz")
    else:
        marks = [kilohertz for kilohertz in (0.5, 2, 8) if kilohertz < top]
        places = [mel_place(kilohertz * 1000, figures.sample_rate) * top for kilohertz in marks]
        axis.set_yticks(places, [f"{mark:g}" for mark in marks])


def mel_place(frequency: float, sample_rate: int) -> float:
    """How far up a mel picture a frequency lies, 0..1."""
    return float(np.log10(1 + frequency / 700) / np.log10(1 + sample_rate / 1400))


def _show_levels(axis: Any, figures: Figures) -> None:
    n_columns = len(figures.levels_db["mix"])
    seconds = (np.arange(n_columns) + 0.5) * figures.seconds / n_columns
    axis.plot(seconds, figures.levels_db["mix"], color=MIX_COLOUR, linewidth=0.8, label="mix")
    axis.fill_between(
        seconds, -80, np.maximum(figures.levels_db["vocals"], -80), color=VOCALS_COLOUR, alpha=0.7, linewidth=0
    )
    axis.set_ylim(-80, 0)
    axis.set_title("level of the vocals, and of the mix (line), dB", loc="left", fontsize=9)


def _show_disagreement(axis: Any, profile: Profile) -> None:
    level = profile.level_db
    seconds = profile.start_seconds + np.arange(len(level)) * profile.frame_seconds
    axis.fill_between(seconds, -80, np.maximum(level, -80), color=DISAGREEMENT_COLOUR, alpha=0.7, linewidth=0)
    axis.set_ylim(-80, 10)
    axis.set_title(f"disagreement of {', '.join(profile.models)}, dB", loc="left", fontsize=9)


def _grouped(power: NDArray[np.float64], n_rows: int) -> NDArray[np.float64]:
    """Mean over neighbouring bins; the highest bin is left out."""
    n_bins = power.shape[0] - 1
    grouped: NDArray[np.float64] = power[:n_bins].reshape(n_rows, n_bins // n_rows, -1).mean(axis=1)
    return grouped
