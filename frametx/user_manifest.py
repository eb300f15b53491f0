"""The user's own models.toml: entries written into it, everything else in it left as it is."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from frametx.download.claim import acquired
from frametx.errors import ManifestError, reason_of
from frametx.manifest import user_manifest_path
from frametx.manifest_fields import check_snapshot
from frametx.renaming import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def write_snapshot(name: str, entry: Mapping[str, Any], path: Path | None = None) -> Path:
    """Add a snapshot to the user's manifest, or change the keys given.

    Args:
        name: What it is to be called.
        entry: Its keys, as in models.toml.
        path: Another file; None for the user's own.

    Returns:
        The file.

    Raises:
        ManifestError: The entry is wrong, or the file cannot be read or written.
    """
    path = user_manifest_path() if path is None else path
    check_snapshot(name, dict(entry), path=path)
    with _locked(path):
        document = _read(path)
        snapshots = document.setdefault("snapshots", tomlkit.table(is_super_table=True))
        try:
            if name not in snapshots:
                snapshots[name] = tomlkit.table()
            snapshots[name].update(_plain(entry))
        except ValueError as error:  # an inline table holds no tables
            raise ManifestError(
                f"{path}: nothing can be added to `snapshots`", "write them as [snapshots.NAME]"
            ) from error
        _write(path, document)
    return path


def remove_snapshot(name: str, path: Path | None = None) -> bool:
    """Take a snapshot out of the user's manifest; tell whether it was there.

    Raises:
        ManifestError: The file cannot be read or written.
    """
    path = user_manifest_path() if path is None else path
    if not path.exists():
        return False
    with _locked(path):
        document = _read(path)
        if name not in document.get("snapshots", {}):
            return False
        del document["snapshots"][name]
        _write(path, document)
    return True


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Bring values into a form that TOML has: constructor values stand on one line."""
    values = dict(entry)
    if "sizes" in values:
        sizes = tomlkit.inline_table()
        sizes.update(values["sizes"])
        values["sizes"] = sizes
    return values


def _read(path: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        document = tomlkit.document()
        document.add(tomlkit.comment("Own snapshots of frametx, laid over the models.toml that comes with it."))
        return document
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"cannot read the manifest {path}: {reason_of(error)}") from error
    except TOMLKitError as error:
        raise ManifestError(f"{path} is not TOML: {error}", "correct it, or move it away") from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time reads and writes, so that no entry gets lost."""
    try:
        lock = acquired(path.with_name(f"{path.name}.lock"))
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        yield
    finally:
        lock.release()


def _write(path: Path, document: tomlkit.TOMLDocument) -> None:
    """Write so that a crash leaves the old one; a link stays a link."""
    try:
        write_whole(path.resolve(), tomlkit.dumps(document))
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> ManifestError:
    return ManifestError(
        f"cannot write the manifest {path}: {reason_of(error)}", "name another file with FRAMETX_MODELS"
    )
