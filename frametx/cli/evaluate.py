"""`frametx evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frametx.cli import separate_options as options
from frametx.cli.console import say, say_error

if TYPE_CHECKING:
    from frametx.evaluate import Judgement, Windows
    from frametx.pairs import StemPair

Folder = Annotated[
    Path, typer.Argument(help="Folder with true stems: <song>_vocals and <song>_instrumental, or MUSDB18-HQ.")
]
Models = Annotated[
    str,
    typer.Option("-m", "--model", "--models", help="What to judge.", show_default="the bundled model"),
]
Against = Annotated[
    list[Path] | None, typer.Option("--against", help="Folder with another tool's results; may be repeated.")
]
Only = Annotated[bool, typer.Option("--only-against", help="Judge the results of --against alone.")]
Unsung = Annotated[bool, typer.Option("--instrumentals", help="FOLDER holds songs in which nobody sings, not stems.")]
Window = Annotated[float | None, typer.Option("--window", help="Judge windows of so many seconds with singing.")]
Level = Annotated[
    float | None, typer.Option("--vocals-db", help="Mix vocals at this level below (-) the instrumental, dB.")
]
Limit = Annotated[list[str] | None, typer.Option("--song", help="Judge this song alone; may be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="All figures as JSON on stdout.")]

COLUMNS = {
    "gain": "gain",
    "sdr": "SDR",
    "sdr_median": "median",
    "si_sdr": "SI-SDR",
    "l1": "L1",
    "fullness": "full",
    "bleedless": "bleedless",
    "leakage": "leak",
}
"""Measures and what they are called where there is little room."""

_WIDTH = 1000  # of a table that goes into a file: nothing need be folded there


def evaluate(
    folder: Folder,
    model: Models = "",
    against: Against = None,
    only_against: Only = False,
    instrumentals: Unsung = False,
    window: Window = None,
    vocals_db: Level = None,
    song: Limit = None,
    as_json: Json = False,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "auto",
    offline: options.Offline = False,
) -> None:
    """Measure separation on songs whose true stems are known.

    Beside every result stands the mixture itself, taken for both stems; "gain" is SDR above it.
    """
    from frametx.errors import EXIT_FAILED, UsageError  # noqa: PLC0415
    from frametx.evaluate import BASELINE, Windows, check_results, results_of, summarise  # noqa: PLC0415  (torch)
    from frametx.pairs import find_instrumentals, find_pairs  # noqa: PLC0415  (numpy)

    if only_against and not against:
        raise UsageError("--only-against needs --against", "name a folder with results")
    windows = Windows(seconds=window, vocals_db=vocals_db)
    pairs = find_instrumentals(folder) if instrumentals else find_pairs(folder)
    if song:
        unknown = [name for name in song if name not in {pair.name for pair in pairs}]
        if unknown:
            raise UsageError(f"{folder} has no song '{unknown[0]}'", f"it has {', '.join(pair.name for pair in pairs)}")
        pairs = [pair for pair in pairs if pair.name in song]
    results = {str(path): results_of(path) for path in against or []}
    check_results(pairs, results, windows)  # before a model is fetched
    systems: dict[str, Any] = {}
    if not only_against:
        name, separate = _model(model, device, precision, offline=offline)
        systems[name] = separate
    for path, found in results.items():
        # a folder that is called as a model, or as the mixture, is told from it by a stroke
        systems[path if path not in (*systems, BASELINE) else f"{path}/"] = found
    judgements, failed = _judge(pairs, systems, windows)
    if judgements or not failed:
        summary = summarise(judgements)
        if as_json:
            typer.echo(json.dumps(summary, indent=2))
        else:
            _show(summary)
    if failed:
        raise typer.Exit(EXIT_FAILED)


def _judge(pairs: list[StemPair], systems: dict[str, Any], windows: Windows) -> tuple[list[Judgement], bool]:
    """Judge song by song; hours of work are not lost for one that cannot be read, which the second value tells."""
    from frametx.errors import FrametxError  # noqa: PLC0415
    from frametx.evaluate import evaluate_pairs  # noqa: PLC0415  (torch)

    judgements: list[Judgement] = []
    failed = False
    for pair in pairs:
        say(pair.name)
        try:
            found = list(evaluate_pairs([pair], systems, windows))
        except FrametxError as error:
            say_error(error.message, error.hint)
            failed = True
            continue
        if not found:
            say(f"{pair.name}: left out, it is shorter than a window")
        judgements += found
    return judgements, failed


def _model(model: str, device: str, precision: str, *, offline: bool) -> tuple[str, Any]:
    from frametx.outputs import Stem  # noqa: PLC0415  (numpy)
    from frametx.separator import Separator  # noqa: PLC0415  (torch)

    separator = Separator(model, device=device, precision=precision, offline=offline, on_note=say)

    def separate(mix: Any) -> tuple[Any, Any]:
        stems = separator.separate_array(mix)
        return stems[Stem.INSTRUMENTAL], stems[Stem.VOCALS]

    return ",".join(found.name for found in separator.models), separate


def _show(summary: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from frametx.evaluate import STEMS  # noqa: PLC0415  (torch)

    paper = Console(highlight=False, emoji=False)  # the table is what was asked for: stdout
    if not paper.is_terminal:
        paper.width = _WIDTH
    for stem in STEMS:
        table = Table(title=stem, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("song", overflow="fold")
        table.add_column("system", overflow="fold")
        for column in COLUMNS.values():
            table.add_column(column, justify="right", no_wrap=True)
        for system, figures in summary.items():
            rows = [*figures["songs"].items(), ("mean", figures["mean"]), ("median", figures["median"])]
            for name, row in rows:
                table.add_row(Text(name), Text(system), *(_number(row[stem][column], column) for column in COLUMNS))
            table.add_section()
        paper.print(table)


def _number(value: float | None, column: str) -> str:
    return "-" if value is None else f"{value:.4f}" if column == "l1" else f"{value:.2f}"
