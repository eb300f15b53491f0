"""`frametx report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frametx.cli import separate_options as options
from frametx.cli.console import say
from frametx.errors import UsageError

Result = Annotated[Path, typer.Argument(help="A stem, an edit list, or a folder with stems.", show_default=False)]
Song = Annotated[Path | None, typer.Option("--song", help="The song, where the stems don't tell.", show_default=False)]
Folder = Annotated[
    Path | None,
    typer.Option("-o", "--output", "--out", help="Where to. [default: beside the stems]", show_default=False),
]
Models = Annotated[
    str,
    typer.Option("-m", "--model", "--models", help="Show where these models disagree; runs them.", show_default=False),
]
Audio = Annotated[str, typer.Option("--audio", help="auto, embed (sound inside the page) or link (to the files).")]
Json = Annotated[bool, typer.Option("--json", help="All figures as JSON on stdout, too.")]


def report(
    result: Result,
    song: Song = None,
    output: Folder = None,
    model: Models = "",
    audio: Audio = "auto",
    device: options.Device = "auto",
    precision: options.PrecisionOption = "auto",
    offline: options.Offline = False,
    as_json: Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a page to look at and listen to a result: <track>.report.html, with a .png and a .json.

    The page needs no network. It holds spectrograms, levels, figures and the sound, switched without losing the place.
    """
    if audio not in ("auto", "embed", "link"):
        raise UsageError(f"--audio '{audio}' is unknown", "use auto, embed or link")

    from frametx import report as reporting  # noqa: PLC0415  (torch and matplotlib)
    from frametx.cli.progress import one_song_progress  # noqa: PLC0415  (rich.progress)
    from frametx.disagreement import measure_disagreement  # noqa: PLC0415  (torch)
    from frametx.separator import Separator  # noqa: PLC0415  (torch)

    findings = reporting.find_results(result, song)
    separator = Separator(model, device=device, precision=precision, offline=offline) if model else None
    if separator is not None and len(separator.models) < 2:
        raise UsageError(f"'{model}' is one model; it takes two to disagree", "name several: -m v7,v8,v10")
    for finding in findings:
        profile = None
        if separator is not None:
            if finding.song is None:
                raise UsageError(f"the song of {finding.track} is not known", "name it with --song")
            with one_song_progress(finding.track, quiet=quiet) as progress:
                profile = measure_disagreement(separator, finding.song, progress=progress)
        written = reporting.write_report(finding, output, profile=profile, audio=audio)
        if as_json:
            typer.echo(written.figures.read_text("utf-8"), nl=False)
        if not quiet:
            for path in (written.page, written.sheet, written.figures):
                say(f"  {path}")
