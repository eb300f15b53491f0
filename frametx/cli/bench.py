"""`frametx bench`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from frametx.cli import separate_options as options
from frametx.errors import EXIT_FAILED, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from frametx.bench import Measurement, Other, Peaks
    from frametx.errors import FrametxError

PRECISIONS = ("fp32", "bf16", "fp16")
GIB = 2**30


def bench(
    models: Annotated[list[str] | None, typer.Argument(help="Architectures; all that were released if none.")] = None,
    precision: Annotated[str, typer.Option(help="Number formats, comma separated: fp32, bf16, fp16.")] = "fp32",
    crop: Annotated[str, typer.Option(help="Frames of the window, several comma separated.")] = "2048",
    device: options.Device = "auto",
    against: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION", help="Another implementation, measured beside each with the same weights."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure how fast the networks run here, with random weights, beside what this machine can do."""
    precisions = [name.strip() for name in precision.split(",")]
    unknown = [name for name in precisions if name not in PRECISIONS]
    if unknown:
        raise UsageError(f"'{unknown[0]}' is no precision", f"use {', '.join(PRECISIONS)}")

    frames = [_frames(text) for text in crop.split(",")]

    from frametx.bench import RELEASED, as_dict  # noqa: PLC0415  (torch)
    from frametx.bench import bench as measure  # noqa: PLC0415
    from frametx.cli.console import console, say_error  # noqa: PLC0415

    def show(result: Measurement) -> None:
        figures = f"{result.seconds_per_audio_second:.2f} s per second of audio, peak {_gib(result)} GiB"
        console.print(f"{result.model} {result.precision} {result.frames} frames: {figures}{_beside(result)}")

    failures: list[FrametxError] = []

    def tell(error: FrametxError) -> None:
        failures.append(error)
        say_error(error.message, error.hint)

    peaks, results = measure(
        models or RELEASED, precisions, frames=frames, device=device, against=against, on_result=show, on_failure=tell
    )
    if as_json:
        typer.echo(json.dumps(as_dict(peaks, results), indent=2))
    else:
        _table(peaks, results)
    if failures:
        raise typer.Exit(EXIT_FAILED)


def _frames(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise UsageError(f"--crop {text.strip()} is no number of frames", "for example --crop 1024,2048,4096")
    return int(text)


def _beside(result: Measurement) -> str:
    other = result.other
    if other is None:
        return ""
    return (
        f"; the other {other.seconds / result.seconds * result.seconds_per_audio_second:.2f} s, {_gib(other)} GiB; "
        f"ratio {result.seconds / other.seconds:.2f}; masks differ by {other.largest_difference:.1e} at most, "
        f"{other.mean_difference:.1e} on average"
    )


def _gib(result: Measurement | Other) -> str:
    return "-" if result.peak_bytes is None else f"{result.peak_bytes / GIB:.1f}"


def _table(peaks: Sequence[Peaks], results: Sequence[Measurement]) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("model", "precision", "frames", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("s / s\naudio", "GFLOP/s", "%\nmatrix", "%\nconvolution", "peak\nGiB", "4-minute\nsong"):
        table.add_column(heading, justify="right")
    for result in results:
        minutes, seconds = divmod(round(result.song_seconds), 60)
        table.add_row(
            result.model,
            result.precision,
            str(result.frames),
            f"{result.seconds_per_audio_second:.2f}",
            f"{result.gflops:.0f}",
            f"{result.percent_of_matrix_peak:.0f}",
            f"{result.percent_of_convolution_peak:.0f}",
            _gib(result),
            f"{minutes}:{seconds:02d}",
        )
    console = Console()
    console.print(table)
    for peak in peaks:
        console.print(_peak_line(peak), highlight=False)


def _peak_line(peak: Peaks) -> str:
    return f"{peak.precision}: matrix {peak.matrix:.0f}, convolution {peak.convolution:.0f} GFLOP/s"
