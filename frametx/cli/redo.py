"""`frametx redo` and `frametx render`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frametx.cli import separate_options as options
from frametx.cli.console import say
from frametx.cli.sections import section_times
from frametx.cli.window_options import window_options
from frametx.clock import clock_text
from frametx.errors import UsageError
from frametx.songs import SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Callable

Song = Annotated[Path, typer.Argument(help="The song whose stems are finished.", show_default=False)]
Folder = Annotated[Path, typer.Option("-o", "--output", "--out", help="The folder that holds its stems.")]
Sections = Annotated[
    list[str] | None,
    typer.Option("-s", "--section", help="What to redo: 1:10-1:42. May be given several times.", show_default=False),
]
List = Annotated[bool, typer.Option("--list", help="Show what was redone so far.")]
Undo = Annotated[bool, typer.Option("--undo", help="Take back the last section.")]
Restart = Annotated[bool, typer.Option("--restart", help="Forget earlier edits; begin with the stems as they are.")]


def redo(
    song: Song,
    output: Folder = Path("separated"),
    name: options.StemNames = "{track}_{stem}",
    section: Sections = None,
    model: options.Models = "",
    ensemble: options.Rule = None,
    weights: options.Weights = None,
    crop: options.Crop = None,
    context: options.Context = None,
    tta: options.Tta = False,
    postprocess: options.Postprocess = False,
    compat: options.Compat = None,
    batch_size: options.BatchSize = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "auto",
    show: List = False,
    take_back: Undo = False,
    restart: Restart = False,
    offline: options.Offline = False,
    quiet: options.Quiet = False,
) -> None:
    """Separate sections of a finished song anew, with other models, and splice them into its stems.

    Only the sections are separated, with context around them. Outside of them the stems stay as they are, to the bit;
    together they are the song. Every step is kept in <track>.frametx.toml beside the stems: edit it and run
    frametx render, or take steps back with --undo.
    """
    if sum((show, take_back, bool(section))) != 1:
        raise UsageError("say what to redo, and one thing at a time", "use --section 1:10-1:42, --list or --undo")
    times = [section_times(text) for text in section or []]

    from frametx import finished_song, rendering  # noqa: PLC0415  (torch)
    from frametx.edit_list import Section  # noqa: PLC0415  (torch)
    from frametx.edit_list_file import read_edit_list  # noqa: PLC0415  (torch)

    if show:
        _say_list(read_edit_list(finished_song.find_edit_list(song, output, name)))
        return
    windows = window_options(
        crop=crop,
        context=context,
        batch_size=batch_size,
        ensemble=ensemble,
        weights=weights,
        tta=tta,
        postprocess=postprocess,
        compat=compat,
    )
    edits = finished_song.open_edits(song, output, name=name, restart=restart)
    separators = _separators(device, precision, offline=offline, quiet=quiet)
    from frametx.cli.progress import one_song_progress  # noqa: PLC0415  (rich.progress)

    with one_song_progress(song.name, quiet=quiet) as progress:
        if take_back:
            rendered = rendering.undo(edits, separators, progress=progress)
        else:
            names = tuple(_lasting(name.strip()) for name in model.split(",") if name.strip())
            new = [
                Section(start_seconds=start, end_seconds=end, models=names, windows=windows, precision=precision)
                for start, end in times
            ]
            rendered = rendering.redo_sections(edits, new, separators, progress=progress)
    if not quiet:
        _say_rendered(rendered, len(times))


def render(
    edit_list: Annotated[Path, typer.Argument(help="An edit list, <track>.frametx.toml.", show_default=False)],
    song: Annotated[Path | None, typer.Option("--song", help="Where the song is now.", show_default=False)] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Separate every section again.")] = False,
    batch_size: options.BatchSize = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "auto",
    offline: options.Offline = False,
    quiet: options.Quiet = False,
) -> None:
    """Make the stems of a song again from its edit list.

    Starts from the base stems, kept since the first redo, and lays every section over them, in the list's order. Vocals
    of sections that did not change are at hand and need no model.
    """
    from dataclasses import replace  # noqa: PLC0415  (with the others)

    from frametx import rendering  # noqa: PLC0415  (torch)
    from frametx.edit_list_file import read_edit_list  # noqa: PLC0415  (torch)

    if edit_list.suffix.lower() in SUFFIXES:
        raise UsageError(
            f"{edit_list} is no edit list", "name the <track>.frametx.toml that `frametx redo` wrote beside the stems"
        )
    edits = read_edit_list(edit_list)
    if song is not None:
        edits = replace(edits, song=replace(edits.song, path=song))
    separators = _separators(device, precision, offline=offline, quiet=quiet, batch_size=batch_size)
    from frametx.cli.progress import one_song_progress  # noqa: PLC0415  (rich.progress)

    with one_song_progress(edits.song.path.name, quiet=quiet) as progress:
        rendered = rendering.render(edits, separators, fresh=fresh, progress=progress)
    if not quiet:
        _say_rendered(rendered, len(rendered.splices))


def _lasting(name: str) -> str:
    """A model's name as it can stand in an edit list: checkpoint files with their whole path."""
    path = Path(name).expanduser()
    return str(path.absolute()) if path.is_file() else name


def _separators(
    device: str, precision: str, *, offline: bool, quiet: bool, batch_size: int | None = None
) -> Callable[[Any], Any]:
    """Opens the models of sections; neighbours with the same models share them."""
    from dataclasses import replace  # noqa: PLC0415  (with the others)

    from frametx.separator import Separator  # noqa: PLC0415  (torch)

    last: list[Any] = []

    def open_models(section: Any) -> Any:
        wanted = (section.models, section.windows, section.precision)
        if not last or last[0] != wanted:
            last[:] = []  # the former models' memory is free before the next are loaded
            windows = section.windows if batch_size is None else replace(section.windows, batch_size=batch_size)
            separator = Separator(
                list(section.models) or "",
                device=device,
                precision=precision if section.precision == "auto" else section.precision,
                windows=windows,
                offline=offline,
                on_note=(lambda _: None) if quiet else say,
            )
            last[:] = [wanted, separator]
            if not quiet:
                names = ", ".join(model.name for model in separator.models)
                say(f"model {names} on {separator.device} in {separator.precision}")
        return last[1]

    return open_models


def _say_list(edits: Any) -> None:
    typer.echo(
        f"{edits.path}: {len(edits.sections)} redone of {edits.song.path}, {clock_text(edits.song.seconds)} long"
    )
    for number, section in enumerate(edits.sections, 1):
        from frametx.edit_list import section_values  # noqa: PLC0415  (torch)

        values = section_values(section)
        models = ", ".join(section.models) or "the default model"
        left_out = ("from", "to", "models", "checkpoints")
        rest = "".join(f", {key} {value}" for key, value in values.items() if key not in left_out)
        typer.echo(f"{number:3}  {section}  {models}{rest}")


def _say_rendered(rendered: Any, n_new: int) -> None:
    rate = rendered.edits.song.sample_rate
    pairs = list(zip(rendered.edits.sections, rendered.splices, strict=True))
    for section, splice in pairs[len(pairs) - n_new :]:
        start, stop = (clock_text(edge / rate) for edge in (splice.touched.start, splice.touched.stop))
        say(f"{section}: spliced in from {start} to {stop}")
    for stem in rendered.stems.values():
        say(f"  {stem.path}")
    say(f"  {rendered.edits.path}")
    for note in rendered.notes:
        say(f"  note: {note}")
