"""What a training leaves behind for people: CSV files, TensorBoard events, a picture of the loss."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STEPS = "log.csv"
VALIDATION = "validation.csv"
PICTURE = "loss.png"


class Log:
    """Appends to a training's files.

    Args:
        folder: The training's output.
        start_step: What an interrupted run noted of later steps is taken out.
    """

    def __init__(self, folder: Path, start_step: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in (STEPS, VALIDATION):
            _cut(folder / name, start_step)
        self._events = _event_writer(folder / "tensorboard", start_step)

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        """Note figures of a step."""
        self._write(STEPS, "training", step, figures)

    def validation(self, step: int, figures: Mapping[str, float]) -> None:
        """Note figures of a validation."""
        self._write(VALIDATION, "validation", step, figures)

    def _write(self, name: str, group: str, step: int, figures: Mapping[str, float]) -> None:
        path = self.folder / name
        row = {"step": step} | {key: f"{value:.6g}" for key, value in figures.items()}
        columns = _columns(path)
        new = [key for key in row if key not in columns]
        if columns and new:  # an adversary that begins late, a term that the config gained
            _widen(path, columns + new)
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns + new)
            if not columns:
                writer.writeheader()
            writer.writerow(row)
        if self._events is not None:
            for key, value in figures.items():
                self._events.add_scalar(f"{group}/{key}", value, step)

    def picture(self) -> None:
        """Draw loss and gain over steps."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (slow to import)
        from matplotlib.figure import Figure  # noqa: PLC0415

        steps, gains = read_log(self.folder / STEPS), read_log(self.folder / VALIDATION)
        figure = Figure(figsize=(8, 4), layout="constrained")
        FigureCanvasAgg(figure)
        axis = figure.add_subplot()
        axis.plot([row["step"] for row in steps], [row["loss"] for row in steps], label="loss", color="tab:blue")
        axis.set_xlabel("step")
        axis.set_ylabel("loss")
        if gains:
            other = axis.twinx()
            other.plot([row["step"] for row in gains], [row["gain"] for row in gains], "o-", color="tab:orange")
            other.set_ylabel("gain over the mixture, dB (orange)")
        figure.savefig(self.folder / PICTURE, dpi=120)

    def close(self) -> None:
        """Write what is still held back."""
        if self._events is not None:
            self._events.close()


def read_log(path: Path) -> list[dict[str, float]]:
    """Read a CSV that `Log` wrote; empty when there is none. A row holds what was noted at its step."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def _columns(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def _widen(path: Path, columns: list[str]) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _cut(path: Path, start_step: int) -> None:
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # a line without its end was cut by a crash; what is left of its number would be another's
    whole = [line for line in lines[1:] if line.endswith("\n")]
    kept = lines[:1] + [line for line in whole if int(line.partition(",")[0]) <= start_step]
    if len(kept) > 1:
        path.write_text("".join(kept), encoding="utf-8")
    else:
        path.unlink()


def _event_writer(folder: Path, start_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  (an optional dependency)
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=start_step + 1)
