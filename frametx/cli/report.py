"""`frametx report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frametx.cli import separate_options as options
from frametx.cli.console import say, say_error
from frametx.errors import EXIT_FAILED, AudioError, FrametxError, UsageError

if TYPE_CHECKING:
    from frametx.disagreement import Profile
    from frametx.report import Finding
    from frametx.separator import Separator

Result = Annotated[Path, typer.Argument(help="A stem, an edit list, or a folder with stems.", show_default=False)]
Song = Annotated[Path | None, typer.Option("--song", help="The song, where the stems don't tell.", show_default=False)]
Folder = Annotated[
    Path | None,
    typer.Option("-o", "--output", "--out", help="Folder for the report.", show_default="beside the stems"),
]
Models = Annotated[
    str,
    typer.Option("-m", "--model", "--models", help="Show where these models disagree; runs them.", show_default=False),
]
Audio = Annotated[str, typer.Option("--audio", help="auto, embed (sound inside the page) or link (to the files).")]
Json = Annotated[
    bool, typer.Option("--json", help="All figures as JSON on stdout, too: an object, of several songs a list.")
]


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
    from frametx.separator import Separator  # noqa: PLC0415  (torch)

    failures = _Failures()
    findings = reporting.find_results(result, song, on_failed=failures.add)
    is_one = len(findings) + failures.count == 1
    separator = Separator(model, device=device, precision=precision, offline=offline) if model else None
    if separator is not None and len(separator.models) < 2:
        raise UsageError(f"'{model}' is one model; it takes two to disagree", "name several: -m v7,v8,v10")
    figures: list[Any] = []
    for finding in findings:
        try:
            profile = None if separator is None else _profile(separator, finding, quiet=quiet)
            written = reporting.write_report(finding, output, profile=profile, audio=audio)
        except AudioError as error:  # the others can do without
            failures.add(error)
            continue
        figures.append(json.loads(written.figures.read_text("utf-8")))
        if not quiet:
            for path in (written.page, written.sheet, written.figures):
                say(f"  {path}")
    if as_json and figures:
        typer.echo(json.dumps(figures[0] if is_one else figures, indent=2))
    if failures.count:
        raise typer.Exit(EXIT_FAILED)


class _Failures:
    """Says what is wrong with a song at once, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, error: FrametxError) -> None:
        self.count += 1
        say_error(error.message, error.hint)


def _profile(separator: Separator, finding: Finding, *, quiet: bool) -> Profile | None:
    """Where models disagree about a song, as far as it can be measured."""
    from frametx.cli.progress import one_song_progress  # noqa: PLC0415  (rich.progress)
    from frametx.disagreement import measure_disagreement  # noqa: PLC0415  (torch)
    from frametx.provenance import is_of_a_part  # noqa: PLC0415  (with the others)

    if is_of_a_part(finding.origin.get("parameters", {})):
        raise UsageError(
            f"the stems of {finding.track} are of a part of the song", "frametx compare --section shows it"
        )
    if finding.song is None:
        raise UsageError(f"the song of {finding.track} is not known", "name it with --song")
    with one_song_progress(finding.track, quiet=quiet) as progress:
        return measure_disagreement(separator, finding.song, progress=progress)
