"""`frametx train`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from frametx.cli import separate_options as options
from frametx.cli.console import console, say
from frametx.errors import UsageError

if TYPE_CHECKING:
    from frametx.training.loop import Report

Config = Annotated[Path, typer.Argument(help="The training, a TOML file.", show_default=False)]
From = Annotated[str | None, typer.Option("--from", help="Begin with this snapshot or checkpoint file.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Instead of the config's output folder.")]
Steps = Annotated[int | None, typer.Option("--stop-after", help="Stop after so many steps of the whole training.")]

SHOWN = 12
"""Rows of the table."""


def train(
    config: Config,
    start_from: From = None,
    output: Output = None,
    stop_after: Steps = None,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Train a network; run again, it goes on where it stopped.

    Ctrl-C finishes the step at hand and keeps it; pressed again, it stops at once, with the last checkpoint left.

    The output folder receives model.safetensors (use it with --model), best.safetensors, log.csv, loss.png and TensorBoard
    events. On several GPUs or machines: torchrun --nproc-per-node N -m frametx train CONFIG.toml
    """
    from dataclasses import replace  # noqa: PLC0415

    from frametx.snapshots import resolve_model  # noqa: PLC0415  (torch)
    from frametx.training.config_file import read_config  # noqa: PLC0415
    from frametx.training.distributed import join_processes  # noqa: PLC0415  (torch)
    from frametx.training.loop import train as run  # noqa: PLC0415  (torch)

    training = read_config(config)
    if output is not None:
        training = replace(training, output=output)
    if stop_after is not None:
        if stop_after < 1:
            raise UsageError(f"--stop-after {stop_after} is no number of steps", "use 1 or more")
        training = replace(training, stop_after=stop_after)
    path = None if start_from is None else resolve_model(start_from, on_note=say).path
    with join_processes(device) as process:
        table = None if quiet or not process.leads else _Table()
        with table or nullcontext():
            done = run(training, process, start_from=path, listener=table)
        if process.leads and not quiet:
            say(f"{done['step']} steps; {done['model']}")


class _Table:
    """The last rows of the log, on a terminal redrawn in place, elsewhere line by line."""

    def __init__(self) -> None:
        self._rows: list[Report] = []
        self._live: Any = None

    def __enter__(self) -> Self:
        from rich.live import Live  # noqa: PLC0415

        if console.is_terminal:
            self._live = Live(console=console, refresh_per_second=4).__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.__exit__(*error)

    def __call__(self, report: Report) -> None:
        """Show a report."""
        if report.kind == "step" and self._live is not None:
            self._rows = [*self._rows, report][-SHOWN:]
            self._live.update(self._table())
            return
        figures = "  ".join(f"{name} {value:.4g}" for name, value in report.figures.items())
        say(report.text or f"step {report.step}/{report.total_steps}  {report.phase}  {figures}")

    def _table(self) -> Any:
        from rich.table import Table  # noqa: PLC0415

        names = list(self._rows[-1].figures)
        table = Table("step", "stage", *names)
        for row in self._rows:
            cells = [f"{row.figures[name]:.4g}" if name in row.figures else "" for name in names]
            table.add_row(f"{row.step}/{row.total_steps}", row.phase, *cells)
        return table
