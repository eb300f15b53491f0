"""What `frametx models` shows: facts as JSON has them, and the same facts for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from frametx.download.job import amount
from frametx.record import read_record

if TYPE_CHECKING:
    from frametx.manifest import Manifest, Preset, Snapshot
    from frametx.store import Store

# What the manifest does not say is not shown.
_EMPTY: tuple[Any, ...] = (None, "", [], {})


def listing(manifest: Manifest, store: Store, text: str) -> dict[str, Any]:
    """Gather what `models list` says.

    Args:
        manifest: What there is.
        store: What is here.
        text: Only entries with this text in them; empty for all.
    """
    snapshots = [_row(snapshot, store) for snapshot in manifest.snapshots.values()]
    presets = [preset_facts(preset) for preset in manifest.presets.values()]
    return {
        "snapshots": [row for row in snapshots if _has(row, text)],
        "presets": [row for row in presets if _has(row, text)],
        "default": manifest.default,
        "cache": str(store.root),
        "cached_bytes": sum(row["cached_bytes"] for row in snapshots if row["state"] != "bundled"),
        "manifests": [str(path) for path in manifest.files],
    }


def show_listing(facts: dict[str, Any]) -> None:
    """Print `models list` for people."""
    rows: list[tuple[str, ...]] = [("name", "network", "size", "state", "vouched", "notes")]
    for row in facts["snapshots"]:
        name = row["name"] + (f" ({', '.join(row['aliases'])})" if row["aliases"] else "")
        name += " *" if row["name"] == facts["default"] else ""
        state = row["state"]
        if state == "partial":
            state += f" {amount(row['cached_bytes'])}"
        size = amount(row["size_bytes"]) if row["size_bytes"] else "?"
        rows.append((name, row["architecture"] or "?", size, state, row["vouched"], row["notes"]))
    _print_columns(rows)
    if facts["presets"]:
        typer.echo("")
        _print_columns(
            [
                ("preset", "models", "rule", "notes"),
                *((p["name"], ",".join(p["models"]), p["rule"], p["notes"]) for p in facts["presets"]),
            ]
        )
    typer.echo("")
    typer.echo(f"* default    cache: {facts['cache']} ({amount(facts['cached_bytes'])})")
    typer.echo(f"manifests: {', '.join(facts['manifests'])}")


def snapshot_facts(snapshot: Snapshot, store: Store) -> dict[str, Any]:
    """Gather everything that is known about a snapshot."""
    facts: dict[str, Any] = {
        "name": snapshot.name,
        "aliases": list(snapshot.aliases),
        "architecture": snapshot.architecture,
        "sizes": dict(snapshot.sizes),
        "sources": list(snapshot.sources),
        "bundled": snapshot.bundled,
        "tensors": snapshot.tensors,
        "parameters": snapshot.parameters,
        "tensor_bytes": snapshot.tensor_bytes,
        "crop": snapshot.crop,
        "context": snapshot.context,
        "licence": snapshot.licence,
        "notes": snapshot.notes,
        "manifest": snapshot.origin,
        "expected_size_bytes": snapshot.size_bytes,
        "expected_sha256": snapshot.sha256,
        **file_facts(snapshot, store),
    }
    return facts


def file_facts(snapshot: Snapshot, store: Store) -> dict[str, Any]:
    """Gather what is known about a snapshot's file on this machine."""
    status = store.status(snapshot)
    record = read_record(status.path) if status.path is not None else None
    return {
        "state": status.state,
        "path": None if status.path is None else str(status.path),
        "folder": None if snapshot.bundled is not None else str(store.folder(snapshot).path),
        "size_bytes": status.size_bytes,
        "sha256": None if record is None else record.sha256,
        "vouched": status.vouched,
        "source": None if record is None else record.source,
        "when": None if record is None else record.when,
        "problem": status.problem or None,
    }


def preset_facts(preset: Preset) -> dict[str, Any]:
    """Gather what is known about a preset."""
    return {
        "name": preset.name,
        "models": list(preset.models),
        "rule": preset.rule,
        "weights": None if preset.weights is None else list(preset.weights),
        "notes": preset.notes,
    }


def show_facts(facts: dict[str, Any]) -> None:
    """Print facts for people, one a line."""
    shown = {name: value for name, value in facts.items() if value not in _EMPTY}
    width = max(map(len, shown)) + 2
    for name, value in shown.items():
        if name.endswith("_bytes") or name == "parameters":
            text = f"{value} ({amount(value)})" if name.endswith("_bytes") else f"{value:,}"
        elif isinstance(value, dict):
            text = ", ".join(f"{key} {item}" for key, item in value.items())
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        typer.echo(f"{name.replace('_', ' '):<{width}}{text}")


def _row(snapshot: Snapshot, store: Store) -> dict[str, Any]:
    status = store.status(snapshot)
    known = snapshot.size_bytes or snapshot.tensor_bytes
    return {
        "name": snapshot.name,
        "aliases": list(snapshot.aliases),
        "architecture": snapshot.architecture,
        "size_bytes": known if status.path is None else status.size_bytes,
        "cached_bytes": status.size_bytes,
        "state": status.state,
        "path": None if status.path is None else str(status.path),
        "vouched": status.vouched,
        "problem": status.problem or None,
        "notes": snapshot.notes,
    }


def _has(row: dict[str, Any], text: str) -> bool:
    return text.lower() in " ".join(str(value) for key, value in row.items() if key != "path").lower()


def _print_columns(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
