"""The application: its commands, and the one place where errors become messages and exit codes.

Importing this module must stay cheap: no torch, no numpy. Each command module imports what it needs inside the command.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from frametx import __version__
from frametx.cli import habits
from frametx.cli.bench import bench
from frametx.cli.compare import compare
from frametx.cli.doctor import doctor
from frametx.cli.evaluate import evaluate
from frametx.cli.models import app as models
from frametx.cli.redo import redo, render
from frametx.cli.report import report
from frametx.cli.separate import separate
from frametx.cli.train import train
from frametx.errors import EXIT_FAILED, EXIT_USAGE, FrametxError, UsageError

app = typer.Typer(
    name="frametx",
    cls=habits.Group,
    help="Remove vocals from songs with the FrameTransformer networks.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"frametx {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Remove vocals from songs with the FrameTransformer networks."""


app.command(cls=habits.Command)(separate)
app.command()(doctor)
app.command()(bench)
app.command()(evaluate)
app.command()(compare)
app.command()(redo)
app.command()(render)
app.command()(report)
app.command()(train)
app.add_typer(models, name="models")


def main() -> None:
    """Run the command line and turn expected errors into messages and exit codes."""
    for stream in (sys.stdout, sys.stderr):  # names of files need not be text; they come out as the bytes they are
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape" if stream.encoding.lower() == "utf-8" else "backslashreplace")
    try:
        app()
    except FrametxError as error:
        sys.stderr.write(f"error: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"hint: {error.hint}\n")
        sys.exit(EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED)
