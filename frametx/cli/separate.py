"""`frametx separate`."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from frametx.cli import separate_options as options
from frametx.cli.console import say
from frametx.cli.pipes import PIPE, open_stdin, refuse_several, to_stdout, without_pipes
from frametx.cli.times import seconds_from
from frametx.cli.window_options import window_options
from frametx.errors import EXIT_FAILED, AudioError, UsageError, reason_of
from frametx.songs import find_songs, read_list, refuse_missing, refuse_playlists

if TYPE_CHECKING:
    from collections.abc import Iterator

    from frametx.batch import Runner
    from frametx.setup import Setup


def separate(
    inputs: options.Inputs = None,
    output: options.Output = Path("separated"),
    model: options.Models = "",
    ensemble: options.Rule = None,
    weights: options.Weights = None,
    stems: options.StemsOption = "both",
    format_: options.Format = "flac",
    bit_depth: options.BitDepthOption = "auto",
    device: options.Devices = "auto",
    jobs: options.Jobs = 1,
    ray: options.RayAddress = None,
    precision: options.PrecisionOption = "auto",
    crop: options.Crop = None,
    context: options.Context = None,
    batch_size: options.BatchSize = None,
    tta: options.Tta = False,
    postprocess: options.Postprocess = False,
    compat: options.Compat = None,
    start: options.Start = None,
    end: options.End = None,
    recursive: options.Recursive = False,
    from_file: options.FromFile = None,
    name: options.Name = "{track}_{stem}",
    overwrite: options.Overwrite = False,
    fail_fast: options.FailFast = False,
    no_tags: options.NoTags = False,
    plain_title: options.PlainTitle = False,
    copy_images: options.CopyImages = False,
    video: options.Video = False,
    report: options.Report = False,
    json: options.Json = False,
    offline: options.Offline = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Separate songs into instrumental and vocals.

    Stems are named <track>_Instrumental and <track>_Vocals; their levels are never changed and they sum to the song.
    What was done before with the same parameters is not done again.
    """
    begin, finish = _section(start, end)
    options.refuse_file(output)
    if json and output == PIPE:
        raise UsageError("--json and -o - both want stdout", "leave out one of them")
    if video and (stems == "vocals" or start or end or output == PIPE):
        raise UsageError("--video is made of a whole instrumental", "leave out --stems, --start, --end and -o -")
    if report and (stems != "both" or start or end or output == PIPE):
        raise UsageError("--report shows both stems of a whole song", "leave out --stems, --start, --end and -o -")
    if copy_images and output == PIPE:
        raise UsageError("--copy-images needs a folder to copy to", "leave out --copy-images or -o -")
    devices = device.split(",")
    if ray is not None and (jobs > 1 or len(devices) > 1):
        raise UsageError("a Ray cluster places the songs itself", "leave out --jobs, and name one kind of device")
    stems = "instrumental" if output == PIPE and stems == "both" else stems
    written = options.output_options(
        stems, format_, bit_depth, overwrite=overwrite, tags=not no_tags, title_suffix=not plain_title
    )
    asked = _inputs(inputs, from_file)
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
    with _terminable(), without_pipes(asked, output) as (paths, folder):
        from frametx.batch import plan_batch, run_batch  # noqa: PLC0415  (torch)
        from frametx.cli.batch_view import batch_view  # noqa: PLC0415  (rich.progress)
        from frametx.cli.transfer import transfer  # noqa: PLC0415  (rich.progress)
        from frametx.job import Work  # noqa: PLC0415  (torch)
        from frametx.ledger import Ledger, products_in  # noqa: PLC0415  (numpy)
        from frametx.naming import Naming  # noqa: PLC0415  (numpy)
        from frametx.provenance import recipe_for  # noqa: PLC0415  (torch)
        from frametx.setup import prepare  # noqa: PLC0415  (torch)

        ledger = Ledger(folder)
        listing = find_songs(paths, recursive=recursive, leave_out=folder, products_in=products_in)
        if output == PIPE:
            refuse_several(listing.songs)
        with transfer(quiet=quiet or json) as fetching:
            setup = prepare(
                model,
                device=devices[0],
                precision=precision,
                windows=windows,
                offline=offline,
                on_note=fetching.on_note,
                on_bytes=fetching.on_bytes,
            )
        names = [one.name for one in setup.models]
        work = Work(
            setup=setup,
            options=written,
            recipe=recipe_for(
                setup.models, setup.windows, setup.precision, written, start_seconds=begin, end_seconds=finish
            ),
            start_seconds=begin,
            end_seconds=finish,
            video=video,
            report=report,
        )
        naming = Naming(template=name, model="+".join(names))
        plan = plan_batch(listing, naming, folder, work, ledger=ledger, overwrite=overwrite)
        if plan.jobs and not quiet and not json:
            say(f"model {', '.join(names)} on {', '.join([setup.device, *devices[1:]])} in {setup.precision}")
        with batch_view(json=json, quiet=quiet, verbose=verbose, paths=output != PIPE) as show:
            runner = _runner(setup, devices, jobs, ray)
            summary = run_batch(plan, work, runner, show, ledger=ledger, fail_fast=fail_fast, images=copy_images)
        if output == PIPE and summary.done:
            to_stdout(*plan.jobs[0].targets.values())
    if summary.failed:
        raise typer.Exit(EXIT_FAILED)


def _section(start: str | None, end: str | None) -> tuple[float, float | None]:
    begin = 0.0 if start is None else seconds_from(start, "--start")
    finish = None if end is None else seconds_from(end, "--end")
    if finish is not None and finish <= begin:
        raise UsageError(f"--end {end} is not after --start {start or 0}")
    return begin, finish


def _runner(setup: Setup, devices: list[str], jobs: int, ray: str | None) -> Runner:
    """What does the songs: this process, `jobs` processes on every device, or a cluster."""
    from frametx.batch import InProcess  # noqa: PLC0415  (torch)
    from frametx.device import pick_device  # noqa: PLC0415  (torch)

    if ray is not None:
        from frametx.cluster import Cluster  # noqa: PLC0415  (torch)

        return Cluster(ray)
    if len(devices) * jobs == 1:
        return InProcess()
    from frametx.workers import Workers  # noqa: PLC0415  (torch)

    places = [setup.device, *(str(pick_device(name)) for name in devices[1:])]
    return Workers([replace(setup, device=place) for place in places for _ in range(jobs)])


def _inputs(named: list[Path] | None, list_file: Path | None) -> list[Path]:
    """What was named on the command line and in a list."""
    inputs = list(named or [])
    if list_file is not None:
        try:
            listed = open_stdin().read() if list_file == PIPE else list_file.read_bytes()
        except OSError as error:
            raise AudioError(f"the list {list_file} cannot be read: {reason_of(error)}") from error
        inputs += read_list(listed, list_file.parent)
    if not inputs:
        raise UsageError(
            "there is nothing to separate",
            "name songs or folders: frametx separate song.flac; a name that begins with - goes after --",
        )
    refuse_playlists(inputs)
    if PIPE not in inputs:
        refuse_missing(inputs)
    return inputs


@contextmanager
def _terminable() -> Iterator[None]:
    """Let a polite request to end (SIGTERM, as batch systems send it) do what Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
