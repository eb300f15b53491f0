"""What people type who come from other separators, and what it is called here.

Nothing of this is accepted: an option that looks alike may mean something else. It is said what to type instead.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup

from frametx.errors import UsageError
from frametx.songs import SUFFIXES

_ONE_STEM = "there are two stems in any case; --stems instrumental or --stems vocals writes one of them"
_FOLDER = "use -o FOLDER"
_MODEL = "use -m NAME; `frametx models list` shows the names"
_NAMES = "use --name, for example --name '{track}_{stem}'"
_QUALITY = "each format has one quality, a high one: -f mp3 has 320 kbit/s"
_WINDOWS = "songs of any length stream in constant memory; --crop and --context, in frames of 23 ms, are the windows"
_PART = "use --start and --end, for example --start 1:00 --end 1:30"
_CPU = "use -d cpu"
_LEVELS = "levels are never changed; samples that a format cannot hold are said, and -f wav --bit-depth float holds all"

OPTIONS = {
    "--two-stems": _ONE_STEM,
    "--single-stem": _ONE_STEM,
    "--targets": _ONE_STEM,
    "--create-vocals": _ONE_STEM,
    "--mp3": "use -f mp3",
    "--wav": "use -f wav",
    "--flac": "leave it out: flac is the default",
    "--output-format": "use -f, for example -f mp3",
    "--ext": "use -f, for example -f mp3",
    "--mp3-bitrate": _QUALITY,
    "--mp3-preset": _QUALITY,
    "--output-bitrate": _QUALITY,
    "--bitrate": _QUALITY,
    "--int24": "use --bit-depth 24",
    "--float32": "use -f wav --bit-depth float",
    "--output-dir": _FOLDER,
    "--outdir": _FOLDER,
    "--filename": _NAMES,
    "--filename-format": _NAMES,
    "--custom-output-names": _NAMES,
    "-n": _MODEL,
    "--model-filename": _MODEL,
    "-l": "run `frametx models list`",
    "--list-models": "run `frametx models list`",
    "--list-presets": "run `frametx models list`",
    "--download-model-only": "run `frametx models fetch NAME`",
    "--model-file-dir": "set FRAMETX_CACHE to the folder",
    "--segment": _WINDOWS,
    "--no-split": _WINDOWS,
    "--overlap": _WINDOWS,
    "--chunk-duration": _WINDOWS,
    "--shifts": "the same song always gives the same stems; --tta is the mean over several windows",
    "--ensemble-algorithm": "use --ensemble min, max, mean or median",
    "--cpu": _CPU,
    "--no-cuda": _CPU,
    "--force-cpu": _CPU,
    "-g": "use -d cuda:0, -d cuda:1, ..., or -d cpu",
    "--gpu": "use -d cuda:0, -d cuda:1, ..., or -d cpu",
    "--offset": _PART,
    "--duration": _PART,
    "--clip-mode": _LEVELS,
    "--normalization": _LEVELS,
    "--skip-existing": "leave it out: what is done with the same parameters is skipped",
    "-i": "name songs without an option: frametx separate song.flac",
    "--input": "name songs without an option: frametx separate song.flac",
    "-e": "run `frametx doctor`",
    "--env-info": "run `frametx doctor`",
    "-V": "use --version",
}
"""Options of demucs, spleeter, audio-separator, open-unmix and the original program, with `-` for `_`."""

COMMANDS = {
    "download": "fetch",
    "get": "fetch",
    "pull": "fetch",
    "ls": "list",
    "rm": "remove",
    "delete": "remove",
    "show": "info",
    "help": "--help",
    "version": "--version",
}


class Group(TyperGroup):
    """Commands; an unknown one that is a song, or is called otherwise here, is explained."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does."""
        with _explained(ctx, args):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As typer does.

        Raises:
            UsageError: The command is a song, or has another name here.
        """
        name = args[0]
        if name not in self.commands:
            if "separate" in self.commands and _is_song(name):
                raise UsageError(f"{name} is no command", f"to separate it: frametx separate {shlex.quote(name)}")
            known = COMMANDS.get(name)
            if known in self.commands or any(known in option.opts for option in self.get_params(ctx)):
                raise UsageError(f"'{name}' is no command", f"type {ctx.command_path} {known}")
        return super().resolve_command(ctx, args)


class Command(TyperCommand):
    """A command; an unknown option that another program has is explained."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does."""
        with _explained(ctx, args):
            return super().parse_args(ctx, args)


@contextmanager
def _explained(ctx: Any, args: list[str]) -> Iterator[None]:
    """Say what an unknown option is here.

    Raises:
        UsageError: It is known from another program, or is a file's name.
    """
    typed = list(args)  # parsing takes them out
    try:
        yield
    except Exception as error:  # the class is click's or typer's own, which depends on typer's version
        option = getattr(error, "option_name", None)
        if type(error).__name__ != "NoSuchOption" or option is None:
            raise
        song = next((name for name in typed if name.startswith("-") and Path(name).is_file()), None)
        if song is not None:
            hint = f"a name that begins with - goes after --: {ctx.command_path} -- {shlex.quote(song)}"
        elif option.replace("_", "-") in OPTIONS:
            hint = OPTIONS[option.replace("_", "-")]
        else:
            raise
        raise UsageError(f"{option} is no option of {ctx.command_path}", hint) from None


def _is_song(name: str) -> bool:
    """Whether a name is more likely a song's, or a folder's, than a misspelt command."""
    return "/" in name or Path(name).suffix.lower() in SUFFIXES or Path(name).exists()
