"""`frametx models`: what there is, what is here, and how it gets here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frametx.cli import habits
from frametx.cli.console import say, say_error
from frametx.errors import EXIT_FAILED, FrametxError, SnapshotMissing, UsageError

if TYPE_CHECKING:
    from frametx.manifest import Manifest, Snapshot
    from frametx.store import Store

app = typer.Typer(
    cls=habits.Group,
    help="List, fetch, import and check snapshots.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Names = Annotated[list[str], typer.Argument(help="Snapshots or presets.", show_default=False)]
AnyNames = Annotated[list[str] | None, typer.Argument(help="Snapshots or presets.", show_default=False)]
Name = Annotated[str, typer.Argument(help="A snapshot.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Models = Annotated[
    Path | None, typer.Option("--models", metavar="FILE", help="A models.toml to use in place of the user's own.")
]
Cache = Annotated[
    Path | None, typer.Option("--cache", metavar="FOLDER", help="Where snapshots lie, in place of FRAMETX_CACHE.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no notes.")]


@app.command("list")
def list_(
    filter_: Annotated[
        str, typer.Option("--filter", metavar="TEXT", help="Only what has TEXT in its name, network, state or notes.")
    ] = "",
    as_json: AsJson = False,
    models: Models = None,
    cache: Cache = None,
) -> None:
    """List every snapshot: its size, whether it is here, and who vouches for it."""
    from frametx.cli.models_view import listing, show_listing  # noqa: PLC0415

    manifest, store = _open(models, cache)
    facts = listing(manifest, store, filter_)
    if as_json:
        _print_json(facts)
    else:
        show_listing(facts)


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="A snapshot or preset.")],
    as_json: AsJson = False,
    models: Models = None,
    cache: Cache = None,
) -> None:
    """Say everything that is known about a snapshot or preset."""
    from frametx.cli.models_view import preset_facts, show_facts, snapshot_facts  # noqa: PLC0415

    manifest, store = _open(models, cache)
    if name in manifest.presets:
        facts = preset_facts(manifest.presets[name])
    else:
        facts = snapshot_facts(manifest.snapshot(name), store)
    if as_json:
        _print_json(facts)
    else:
        show_facts(facts)


@app.command()
def fetch(
    names: AnyNames = None,
    all_: Annotated[bool, typer.Option("--all", help="Every snapshot that can be fetched.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", envvar="FRAMETX_OFFLINE", help="Don't touch the network.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    models: Models = None,
    cache: Cache = None,
) -> None:
    """Fetch snapshots into the cache; what was interrupted goes on where it stopped."""
    from frametx.cli.transfer import transfer  # noqa: PLC0415

    manifest, store = _open(models, cache)
    if bool(names) == all_:
        raise UsageError("fetch what?", "name snapshots or presets, or give --all")
    snapshots = [s for s in manifest.snapshots.values() if s.sources] if all_ else _chosen(manifest, names or [])
    results: list[dict[str, Any]] = []
    n_failed = 0
    with transfer(quiet=quiet or as_json) as shown:
        for snapshot in snapshots:
            was_here = store.status(snapshot).path is not None
            shown.start(snapshot.name)
            try:
                path = store.fetch(snapshot, offline=offline, on_bytes=shown.on_bytes, on_note=shown.on_note)
            except FrametxError as error:
                n_failed += 1
                results.append({"name": snapshot.name, "error": error.message, "hint": error.hint})
                say_error(error.message, error.hint)
                continue
            finally:
                shown.stop()
            results.append({"name": snapshot.name, **_file_facts(snapshot, store), "fetched": not was_here})
            if not (quiet or as_json):
                say(f"{snapshot.name}: {path}" + (" (was here already)" if was_here else ""))
    if as_json:
        _print_json(results)
    if n_failed:
        raise typer.Exit(EXIT_FAILED)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A checkpoint: fetched with a browser, or trained by yourself.")],
    as_: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="A known snapshot, or a new name for your own.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    models: Models = None,
    cache: Cache = None,
) -> None:
    """Copy a checkpoint into the cache, recognised by its tensors."""
    from frametx.cli.transfer import transfer  # noqa: PLC0415
    from frametx.own_checkpoints import import_checkpoint  # noqa: PLC0415  (torch)

    manifest, store = _open(models, cache)
    with transfer(quiet=quiet or as_json) as shown:
        shown.start(file.name)
        snapshot, _ = import_checkpoint(
            file, as_, manifest, store, user_file=models, on_bytes=shown.on_bytes, on_note=shown.on_note
        )
    _report({"name": snapshot.name, **_file_facts(snapshot, store)}, as_json, quiet)


@app.command()
def verify(
    names: AnyNames = None, as_json: AsJson = False, quiet: Quiet = False, models: Models = None, cache: Cache = None
) -> None:
    """Hash the files in the cache and compare; without names, all that are there."""
    from frametx.cli.transfer import transfer  # noqa: PLC0415

    manifest, store = _open(models, cache)
    snapshots = _chosen(manifest, names) if names else list(manifest.snapshots.values())
    if not names:
        snapshots = [s for s in snapshots if store.status(s).state in ("cached", "damaged", "bundled")]
    verdicts = []
    with transfer(quiet=quiet or as_json) as shown:
        for snapshot in snapshots:
            shown.start(snapshot.name)
            verdicts += store.verify(snapshot, on_bytes=shown.on_bytes)
            shown.stop()
    if as_json:
        _print_json(
            [
                {
                    "name": v.name,
                    "path": str(v.path),
                    "sha256": v.sha256,
                    "vouched": v.vouched,
                    "problem": v.problem or None,
                }
                for v in verdicts
            ]
        )
    for verdict in verdicts:
        if verdict.problem:
            say_error(verdict.problem, f"run `frametx models remove {verdict.name}` and fetch it again")
        elif not (quiet or as_json):
            typer.echo(f"{verdict.name}: good ({verdict.vouched}), sha256 {verdict.sha256}")
    if any(verdict.problem for verdict in verdicts):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def path(name: Name, as_json: AsJson = False, models: Models = None, cache: Cache = None) -> None:
    """Print where a snapshot's file lies; fails when it is not here."""
    manifest, store = _open(models, cache)
    snapshot = manifest.snapshot(name)
    found = store.path_of(snapshot)
    if as_json:
        _print_json({"name": snapshot.name, "path": str(found)})
    else:
        typer.echo(str(found))


@app.command()
def remove(
    names: Names,
    forget: Annotated[
        bool, typer.Option("--forget", help="Also forget the digest a later download is held to.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    models: Models = None,
    cache: Cache = None,
) -> None:
    """Remove snapshots from the cache. Own imports leave the user's models.toml as well."""
    from frametx.download.job import amount  # noqa: PLC0415
    from frametx.user_manifest import remove_snapshot  # noqa: PLC0415

    manifest, store = _open(models, cache)
    on_note = (lambda _: None) if quiet or as_json else say
    results = []
    for snapshot in _chosen(manifest, names):
        own = not snapshot.sources and snapshot.bundled is None
        try:
            freed = store.remove(snapshot, forget=forget or own, on_note=on_note)
        except SnapshotMissing:
            if not own:  # of one's own import the name must go even when its file is gone
                raise
            freed = 0
        forgotten = own and remove_snapshot(snapshot.name, models)
        results.append({"name": snapshot.name, "freed_bytes": freed, "left_manifest": forgotten})
        if not (quiet or as_json):
            say(f"{snapshot.name}: {amount(freed)} freed" + ("; no longer in your models.toml" if forgotten else ""))
    if as_json:
        _print_json(results)


@app.command()
def convert(
    name: Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write, in place of the cache.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    models: Models = None,
    cache: Cache = None,
) -> None:
    """Write a snapshot as safetensors, which cannot hold code; used from then on if in the cache; the original stays."""
    from frametx.own_checkpoints import convert as convert_snapshot  # noqa: PLC0415  (torch)

    manifest, store = _open(models, cache)
    snapshot = manifest.snapshot(name)
    written = convert_snapshot(snapshot, store, output)
    _report({"name": snapshot.name, "path": str(written), "size_bytes": written.stat().st_size}, as_json, quiet)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="A new name.")],
    source: Annotated[str, typer.Argument(metavar="FILE_OR_URL", help="A MEGA link, https://..., or a file.")],
    sha256: Annotated[str | None, typer.Option(help="The digest that the file must have.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    models: Models = None,
    cache: Cache = None,
) -> None:
    """Fetch a checkpoint from anywhere and give it a name in the user's models.toml."""
    from frametx.cli.transfer import transfer  # noqa: PLC0415
    from frametx.own_checkpoints import add_snapshot  # noqa: PLC0415  (torch)

    manifest, store = _open(models, cache)
    if "://" not in source and not source.startswith("file:"):
        source = Path(source).expanduser().resolve().as_uri()
    with transfer(quiet=quiet or as_json) as shown:
        shown.start(name)
        snapshot, _ = add_snapshot(
            name,
            source,
            manifest,
            store,
            sha256=sha256,
            user_file=models,
            on_bytes=shown.on_bytes,
            on_note=shown.on_note,
        )
    _report({"name": snapshot.name, **_file_facts(snapshot, store)}, as_json, quiet)


def _open(models: Path | None, cache: Path | None) -> tuple[Manifest, Store]:
    from frametx.manifest import load_manifest  # noqa: PLC0415  (start-up time)
    from frametx.store import Store  # noqa: PLC0415  (requests)

    return load_manifest(models), Store(cache)


def _chosen(manifest: Manifest, names: list[str]) -> list[Snapshot]:
    """Take presets apart and every snapshot once."""
    chosen = {s.name: s for name in names for s in manifest.resolve(name)}
    return list(chosen.values())


def _file_facts(snapshot: Snapshot, store: Store) -> dict[str, Any]:
    from frametx.cli.models_view import file_facts  # noqa: PLC0415

    return file_facts(snapshot, store)


def _report(facts: dict[str, Any], as_json: bool, quiet: bool) -> None:
    if as_json:
        _print_json(facts)
    elif not quiet:
        vouched = f" ({facts['vouched']})" if facts.get("vouched") else ""
        say(f"{facts['name']}: {facts['path']}{vouched}")


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))
