"""`frametx compare`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from frametx.cli import separate_options as options
from frametx.cli.console import say
from frametx.cli.sections import section_times
from frametx.cli.window_options import window_options
from frametx.clock import clock_text
from frametx.errors import UsageError
from frametx.songs import refuse_missing

Song = Annotated[Path, typer.Argument(help="The song.", show_default=False)]
Models = Annotated[
    str, typer.Option("-m", "--model", "--models", help="At least two models, or a preset.", show_default=False)
]
Section = Annotated[str | None, typer.Option("-s", "--section", help="Compare here alone: 1:10-1:42.")]
Folder = Annotated[Path, typer.Option("-o", "--output", "--out", help="The folder that holds the song's stems.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Most ranges to show.")]
Threshold = Annotated[
    float | None,
    typer.Option("--threshold", help="Show ranges from this level on, dB.", show_default="10 below the largest"),
]
Json = Annotated[bool, typer.Option("--json", help="All figures as JSON on stdout.")]


def compare(
    song: Song,
    model: Models,
    section: Section = None,
    output: Folder = Path("separated"),
    name: options.StemNames = "{track}_{stem}",
    limit: Limit = 10,
    threshold: Threshold = None,
    crop: options.Crop = None,
    context: options.Context = None,
    batch_size: options.BatchSize = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "auto",
    offline: options.Offline = False,
    as_json: Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show where models disagree about a song, and how to redo it there.

    Levels are relative to the song's mean level: the disagreement is what the most generous model leaves in the
    instrumental and the strictest takes out; below each model's name stands the level of the vocals it hears.
    """
    times = None if section is None else section_times(section)
    refuse_missing([song])

    from frametx.disagreement import disputed_ranges, measure_disagreement  # noqa: PLC0415  (torch)
    from frametx.naming import DEFAULT_NAME  # noqa: PLC0415  (mutagen)
    from frametx.separator import Separator  # noqa: PLC0415  (torch)
    from frametx.snapshots import model_names  # noqa: PLC0415  (torch)

    if len(model_names(model)) < 2:
        raise UsageError(f"'{model}' is one model; it takes two to disagree", "name several: -m v7,v8,v10")
    windows = window_options(crop=crop, context=context, batch_size=batch_size)
    separator = Separator(
        model,
        device=device,
        precision=precision,
        windows=windows,
        offline=offline,
        on_note=(lambda _: None) if quiet or as_json else say,
    )
    from frametx.cli.progress import one_song_progress  # noqa: PLC0415  (rich.progress)

    with one_song_progress(song.name, quiet=quiet or as_json) as progress:
        profile = measure_disagreement(separator, song, times, progress=progress)
    ranges = [] if profile is None else disputed_ranges(profile, limit=limit, threshold_db=threshold)
    if as_json:
        typer.echo(json.dumps(_as_json(song, [one.name for one in separator.models], profile, ranges), indent=2))
        return
    if not ranges:
        typer.echo("the models agree" if profile is not None else "the song is silent")
        return
    _show(ranges)
    typer.echo("\nListen there. To redo a range with the model that takes most out of the instrumental:\n")
    chosen = {"-o": output, "--name": name, "--crop": crop, "--context": context, "--precision": precision}
    defaults = (None, "auto", DEFAULT_NAME)
    given = [word for flag, value in chosen.items() if value not in defaults for word in (flag, str(value))]
    paths = {one.name: str(one.path) for one in separator.models}
    for one in ranges:
        # a checkpoint file goes by its path, a snapshot by its name
        best = one.strictest if one.strictest in model.split(",") else paths[one.strictest]
        disputed = f"{clock_text(one.start_seconds)}-{clock_text(one.end_seconds)}"
        typer.echo(shlex.join(["frametx", "redo", str(song), *given, "--section", disputed, "-m", best]))


def _show(ranges: list[Any]) -> None:
    names = list(ranges[0].vocals_db)
    widths = [max(len(name), 6) for name in names]
    heads = "  ".join(name.rjust(width) for name, width in zip(names, widths, strict=True))
    typer.echo(f"{'from':>9}  {'to':>9}  {'disagreement':>12}  {heads}")
    for one in ranges:
        start, end = clock_text(one.start_seconds), clock_text(one.end_seconds)
        levels = "  ".join(f"{one.vocals_db[name]:{width}.1f}" for name, width in zip(names, widths, strict=True))
        typer.echo(f"{start:>9}  {end:>9}  {one.level_db:9.1f} dB  {levels}")


def _as_json(song: Path, models: list[str], profile: Any, ranges: list[Any]) -> dict[str, Any]:
    if profile is None:
        no_times = {"start_seconds": None, "frame_seconds": None}
        return {"song": str(song), "models": models, **no_times, "ranges": [], "levels_db": []}
    return {
        "song": str(song),
        "models": models,
        "start_seconds": profile.start_seconds,
        "frame_seconds": profile.frame_seconds,
        "ranges": [
            {
                "start_seconds": one.start_seconds,
                "end_seconds": one.end_seconds,
                "disagreement_db": one.level_db,
                "vocals_db": one.vocals_db,
                "strictest": one.strictest,
            }
            for one in ranges
        ],
        "levels_db": [round(float(level), 1) for level in profile.level_db],
    }
