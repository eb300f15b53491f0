"""The options of `frametx separate`, many of which other commands have too, and the values that they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from frametx.errors import UsageError

Inputs = Annotated[
    list[Path] | None, typer.Argument(help="Songs, or folders with songs; - is stdin.", show_default=False)
]
Recursive = Annotated[
    bool, typer.Option("-r", "--recursive", help="Enter folders in folders; the output mirrors them.")
]
FromFile = Annotated[
    Path | None, typer.Option("--from-file", help="A list or playlist of songs and folders, one a line; - is stdin.")
]
StemNames = Annotated[str, typer.Option("--name", help="How its stems were named, as given to frametx separate.")]
Name = Annotated[
    str,
    typer.Option(
        "--name",
        help="Names of stems, from {track} {stem} {model} {dir} {ext} {trackext} {artist} {title} {album} {n}.",
    ),
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Begin no further song after a failure.")]
CopyImages = Annotated[bool, typer.Option("--copy-images", help="Copy the pictures in the songs' folders, too.")]
Video = Annotated[
    bool, typer.Option("--video", help="Make an MP4 of the instrumental: the song's own picture, else its cover.")
]
Report = Annotated[bool, typer.Option("--report", help="Make a page to look at and listen to, beside the stems.")]
Json = Annotated[bool, typer.Option("--json", help="Events as JSON on stdout, one a line.")]
NoTags = Annotated[bool, typer.Option("--no-tags", help="Leave the song's tags and cover out of the stems.")]
PlainTitle = Annotated[bool, typer.Option("--plain-title", help="Titles without ' (Instrumental)' or ' (Vocals)'.")]
Output = Annotated[
    Path, typer.Option("-o", "--output", "--out", help="Folder for the stems, made if missing; - is stdout.")
]
Models = Annotated[
    str,
    typer.Option(
        "-m",
        "--model",
        "--models",
        help="Snapshots, presets or checkpoint files, separated by commas.",
        show_default="the bundled model",
    ),
]
Rule = Annotated[
    str | None,
    typer.Option(
        "--ensemble",
        help="How several models are joined: min, max, mean, median.",
        show_default="the preset's, else min",
    ),
]
Weights = Annotated[str | None, typer.Option(help="Weights for --ensemble mean, one a model: 2,1,1.")]
StemsOption = Annotated[str, typer.Option("--stems", help="both, instrumental or vocals.")]
Format = Annotated[str, typer.Option("-f", "--format", help="flac, wav, mp3 (320 kbit/s), ogg, opus or m4a.")]
BitDepthOption = Annotated[str, typer.Option("--bit-depth", help="auto (the song's own), 16, 24 or float.")]
Device = Annotated[str, typer.Option("-d", "--device", help="auto, cpu, cuda, cuda:N or mps.")]
Devices = Annotated[str, typer.Option("-d", "--device", help="auto, cpu, cuda, cuda:N or mps; several with commas.")]
Jobs = Annotated[
    int,
    typer.Option(
        "-j", "--jobs", min=1, help="Songs at once, each in a process of its own; on a CPU threads are divided."
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option("--ray", help="Do the songs on a Ray cluster: auto, host:port, or local.", show_default=False),
]
PrecisionOption = Annotated[str, typer.Option("--precision", help="auto, fp32, bf16 or fp16.")]
Crop = Annotated[
    int | None,
    typer.Option(
        "-c",
        "--crop",
        "--cropsize",
        help="Frames a window owns (1024 samples each).",
        show_default="what suits the model",
    ),
]
Context = Annotated[
    int | None,
    typer.Option(
        "--context",
        "--padding",
        help="Frames a window sees beyond, on either side; 0: hard borders.",
        show_default="what suits the model",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "-B", "--batch-size", "--batchsize", help="Windows at once.", show_default="1 on a CPU, what fits on a GPU"
    ),
]
Tta = Annotated[bool, typer.Option("-t", "--tta", help="Mean over five window sizes: slower, a little steadier.")]
Postprocess = Annotated[bool, typer.Option("-p", "--postprocess", help="Leave passages without a voice untouched.")]
Compat = Annotated[str | None, typer.Option("--compat", help="original: the original program's windows and borders.")]
Start = Annotated[str | None, typer.Option("--start", help="Begin here: 75, 1:15.")]
End = Annotated[str | None, typer.Option("--end", help="Stop here.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace stems that are there.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never fetch a snapshot.", envvar="FRAMETX_OFFLINE")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Errors only.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")]


def refuse_file(output: Path) -> None:
    """Refuse a file as `-o`, which is a folder: whoever names one means a stem.

    Raises:
        UsageError: The name ends as a stem's would, and no such folder is there.
    """
    from frametx.audio.formats import FORMATS  # noqa: PLC0415  (numpy)

    if output.suffix.lower().removeprefix(".") in FORMATS and not output.is_dir():
        raise UsageError(
            f"-o {output} is a file's name, but a song has two stems",
            "give -o a folder; --name says how stems are called, -f in which format, and -o - writes one to stdout",
        )


def output_options(
    stems: str, format_: str, bit_depth: str, *, overwrite: bool, tags: bool = True, title_suffix: bool = True
) -> Any:
    """What the options on stems stand for, an `OutputOptions`.

    Raises:
        UsageError: A value that cannot be meant.
    """
    from frametx.audio.formats import bits_of, stem_format  # noqa: PLC0415  (numpy)
    from frametx.outputs import OutputOptions, Stem  # noqa: PLC0415  (numpy)

    depths: dict[str, Any] = {"auto": "auto", "16": 16, "24": 24, "float": "float", "32": "float"}
    if bit_depth not in depths:
        raise UsageError(f"--bit-depth '{bit_depth}' is unknown", "use auto, 16, 24 or float")
    chosen = tuple(Stem) if stems == "both" else tuple(stem for stem in Stem if stem.value == stems)
    if not chosen:
        raise UsageError(f"--stems '{stems}' is unknown", "use both, instrumental or vocals")
    form = stem_format(format_.lower().lstrip("."))
    if depths[bit_depth] != "auto":
        bits_of(form, depths[bit_depth])
    return OutputOptions(
        stems=chosen,
        format=form.name,
        bit_depth=depths[bit_depth],
        overwrite=overwrite,
        tags=tags,
        title_suffix=title_suffix,
    )
