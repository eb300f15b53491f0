"""`frametx separate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from frametx.cli.console import clock, say, song_progress
from frametx.cli.times import seconds_from
from frametx.errors import EXIT_FAILED, AudioError, FrametxError, UsageError
from frametx.songs import find_songs

Inputs = Annotated[list[Path], typer.Argument(help="Songs, or folders with songs.", show_default=False)]
Output = Annotated[Path, typer.Option("-o", "--output", "--out", help="Folder for the stems; made if missing.")]
Models = Annotated[
    str,
    typer.Option(
        "-m",
        "--model",
        "--models",
        help="Snapshots, presets or checkpoint files, separated by commas. [default: the bundled model]",
        show_default=False,
    ),
]
Rule = Annotated[str | None, typer.Option("--ensemble", help="How several models are joined: min, max, mean, median.")]
Weights = Annotated[str | None, typer.Option(help="Weights for --ensemble mean, one a model: 2,1,1.")]
StemsOption = Annotated[str, typer.Option("--stems", help="both, instrumental or vocals.")]
Format = Annotated[str, typer.Option("-f", "--format", help="flac, wav, mp3, ogg, opus or m4a.")]
BitDepthOption = Annotated[str, typer.Option("--bit-depth", help="auto (the song's own), 16, 24 or float.")]
Device = Annotated[str, typer.Option("-d", "--device", help="auto, cpu, cuda, cuda:N or mps.")]
PrecisionOption = Annotated[str, typer.Option("--precision", help="auto, fp32, bf16 or fp16.")]
Crop = Annotated[
    int | None, typer.Option("-c", "--crop", "--cropsize", help="Frames a window owns (1024 samples each).")
]
Context = Annotated[
    int | None,
    typer.Option("--context", "--padding", help="Frames a window sees beyond, on either side; 0: hard borders."),
]
BatchSize = Annotated[int | None, typer.Option("-B", "--batch-size", "--batchsize", help="Windows at once.")]
Tta = Annotated[bool, typer.Option("-t", "--tta", help="Mean over five window sizes: slower, a little steadier.")]
Postprocess = Annotated[bool, typer.Option("-p", "--postprocess", help="Leave passages without a voice untouched.")]
Compat = Annotated[str | None, typer.Option("--compat", help="original: the original program's windows and borders.")]
Start = Annotated[str | None, typer.Option("--start", help="Begin here: 75, 1:15.")]
End = Annotated[str | None, typer.Option("--end", help="Stop here.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace stems that are there.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never fetch a snapshot.", envvar="FRAMETX_OFFLINE")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Errors only.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")]


def separate(
    inputs: Inputs,
    output: Output = Path("separated"),
    model: Models = "",
    ensemble: Rule = None,
    weights: Weights = None,
    stems: StemsOption = "both",
    format_: Format = "flac",
    bit_depth: BitDepthOption = "auto",
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    crop: Crop = None,
    context: Context = None,
    batch_size: BatchSize = None,
    tta: Tta = False,
    postprocess: Postprocess = False,
    compat: Compat = None,
    start: Start = None,
    end: End = None,
    overwrite: Overwrite = False,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Separate songs into instrumental and vocals.

    Stems are named <track>_Instrumental and <track>_Vocals; their levels are never changed and they sum to the song.
    """
    begin = 0.0 if start is None else seconds_from(start, "--start")
    finish = None if end is None else seconds_from(end, "--end")
    if finish is not None and finish <= begin:
        raise UsageError(f"--end {end} is not after --start {start or 0}")
    if compat not in (None, "original"):
        raise UsageError(f"--compat '{compat}' is unknown", "the one choice is --compat original")
    rule = {"avg": "mean", "average": "mean"}.get(ensemble or "", ensemble)
    if rule not in (None, "min", "max", "mean", "median"):
        raise UsageError(f"--ensemble '{ensemble}' is no rule", "use min, max, mean or median")
    options = _output_options(stems, format_, bit_depth, overwrite=overwrite)
    songs = find_songs(inputs)

    from frametx.ensemble import Rule  # noqa: PLC0415  (torch)
    from frametx.separator import Separator  # noqa: PLC0415  (torch)
    from frametx.windows import WindowOptions  # noqa: PLC0415  (torch)

    windows = WindowOptions(
        crop=crop,
        context=context,
        batch_size=batch_size,
        rule=None if rule is None else Rule(rule),
        weights=None if weights is None else _numbers(weights),
        tta=tta,
        postprocess=postprocess,
        original=compat == "original",
    )
    note = (lambda _: None) if quiet else say
    separator = Separator(model, device=device, precision=precision, windows=windows, offline=offline, on_note=note)
    if not quiet:
        names = ", ".join(model.name for model in separator.models)
        say(f"model {names} on {separator.device} in {separator.precision}")
    failed = _run(separator, songs, output, options, begin, finish, quiet=quiet, verbose=verbose)
    if failed:
        raise typer.Exit(EXIT_FAILED)


def _run(
    separator: Any,
    songs: list[Path],
    output: Path,
    options: Any,
    begin: float,
    finish: float | None,
    *,
    quiet: bool,
    verbose: bool,
) -> int:
    """Separate every song, saying how it went; returns how many failed."""
    results, n_failed = [], 0
    with song_progress(quiet=quiet) as progress:
        for song in songs:
            progress.start(song.name, _seconds_of(song))
            try:
                result = separator.separate_file(
                    song, output, options, start_seconds=begin, end_seconds=finish, progress=progress
                )
            except AudioError as error:
                n_failed += 1
                _say_error(error)
                continue
            finally:
                progress.stop()
            results.append(result)
            if not quiet:
                _say_result(result, verbose=verbose)
    if not quiet and results:
        _say_summary(results, n_failed)
    return n_failed


def _say_error(error: FrametxError) -> None:
    say(f"error: {error.message}")
    if error.hint:
        say(f"hint: {error.hint}")


def _say_result(result: Any, *, verbose: bool) -> None:
    for stem in result.stems.values():
        say(f"  {stem.path}")
        if verbose:
            say(f"    {stem.n_samples} samples, peak {stem.peak:.3f}")
    for text in result.notes:
        say(f"  note: {text}")


def _say_summary(results: list[Any], n_failed: int) -> None:
    seconds = sum(result.seconds for result in results)
    elapsed = sum(result.elapsed_seconds for result in results)
    files = f"{len(results)} song" + ("s" if len(results) != 1 else "")
    memory = _peak_memory()
    say(
        f"{files} ({clock(seconds)}) in {clock(elapsed)}, {seconds / elapsed:.1f} x real time"
        + (f", peak memory {memory / 2**30:.1f} GiB" if memory else "")
        + (f"; {n_failed} failed" if n_failed else "")
    )


def _peak_memory() -> int | None:
    """The most memory this process has held, in bytes; None where the system does not say."""
    try:
        import resource  # noqa: PLC0415  (not on Windows)
    except ImportError:
        return None
    import sys  # noqa: PLC0415

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _seconds_of(song: Path) -> float | None:
    from frametx.audio.reader import probe  # noqa: PLC0415

    try:
        info = probe(song)
    except AudioError:
        return None  # what is wrong is said when the song is separated
    return None if info.n_samples is None else info.n_samples / info.sample_rate


def _output_options(stems: str, format_: str, bit_depth: str, *, overwrite: bool) -> Any:
    from frametx.outputs import OutputOptions, Stem  # noqa: PLC0415  (numpy)

    depths: dict[str, Any] = {"auto": "auto", "16": 16, "24": 24, "float": "float", "32": "float"}
    if bit_depth not in depths:
        raise UsageError(f"--bit-depth '{bit_depth}' is unknown", "use auto, 16, 24 or float")
    chosen = tuple(Stem) if stems == "both" else tuple(stem for stem in Stem if stem.value == stems)
    if not chosen:
        raise UsageError(f"--stems '{stems}' is unknown", "use both, instrumental or vocals")
    return OutputOptions(
        stems=chosen, format=format_.lower().lstrip("."), bit_depth=depths[bit_depth], overwrite=overwrite
    )


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--weights '{text}' are no numbers", "write them like 2,1,1") from error
