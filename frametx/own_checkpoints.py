"""Checkpoints that somebody brings: recognised by their tensors, checked, named, put into the store."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from frametx.cache_folder import digest_of
from frametx.errors import CheckpointError, UsageError
from frametx.manifest import Snapshot
from frametx.manifest_fields import NAME_RULE, SNAPSHOT_KEYS, is_name
from frametx.models.checkpoint import network_for, read_shapes, read_state, write_weights
from frametx.user_manifest import write_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from frametx.manifest import Manifest
    from frametx.store import Store

    OnBytes = Callable[[int, int | None], None]
    OnNote = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a checkpoint's tensors tell.

    Attributes:
        architecture: The network's name.
        sizes: Its constructor values.
        tensors: How many tensors there are.
        parameters: How many parameters the network has.
    """

    architecture: str
    sizes: Mapping[str, Any]
    tensors: int
    parameters: int


def identify(path: Path) -> Identity:
    """Recognise a checkpoint without running anything in it.

    Args:
        path: The file.

    Raises:
        CheckpointError: It cannot be read, holds code, or is of no known architecture.
    """
    shapes = read_shapes(path)
    network = network_for(shapes, path)
    return Identity(
        architecture=network.architecture,
        sizes=_plain(type(network).sizes_from(shapes)),
        tensors=len(shapes),
        parameters=sum(math.prod(parameter.shape) for parameter in network.parameters()),
    )


def is_of(identity: Identity, snapshot: Snapshot) -> bool:
    """Tell whether a checkpoint could be a snapshot: same network, same sizes where both know them."""
    if snapshot.architecture not in (None, identity.architecture):
        return False
    if snapshot.tensors not in (None, identity.tensors):
        return False
    return all(identity.sizes.get(name, size) == size for name, size in snapshot.sizes.items())


def import_checkpoint(
    path: Path,
    name: str | None,
    manifest: Manifest,
    store: Store,
    *,
    user_file: Path | None = None,
    on_bytes: OnBytes,
    on_note: OnNote,
) -> tuple[Snapshot, Path]:
    """Copy a checkpoint into the store, as a known snapshot or as one's own.

    Args:
        path: The file.
        name: A known snapshot, or a new name; None to find the known one that it is.
        manifest: What is known.
        store: Where it goes.
        user_file: The manifest that a new name is written into; None for the user's own.
        on_bytes: Told (bytes done, bytes in all).
        on_note: Told what a person may want to know.

    Returns:
        The snapshot and where its file lies now.

    Raises:
        CheckpointError: It cannot be read, holds code, or is not the snapshot that it should be.
        UsageError: It could be several snapshots, or none, and has no name; or the name cannot be used.
        DownloadError: Its digest or size is not the expected one, or the cache cannot be written.
    """
    identity = identify(path)
    if name is None:
        snapshot = _recognised(path, identity, manifest)
    elif is_known(name, manifest):
        snapshot = manifest.snapshot(name)
    else:
        check_new_name(name, manifest)
        snapshot = own_snapshot(name, identity, sha256=digest_of(path), size_bytes=path.stat().st_size)
        snapshot = replace(snapshot, notes=f"imported from {path.name} on {dt.datetime.now(dt.UTC).date()}")
        target = store.adopt(snapshot, path, on_bytes=on_bytes, on_note=on_note)
        write_snapshot(name, entry_of(snapshot), user_file)
        return snapshot, target
    if snapshot.bundled is not None:
        raise UsageError(f"snapshot {snapshot.name!r} comes with frametx", "choose a new name with --as NAME")
    if snapshot.architecture not in (None, identity.architecture):
        raise CheckpointError(
            f"{path} is a {identity.architecture} checkpoint; snapshot {snapshot.name!r} is {snapshot.architecture}",
            "leave --as out to have it recognised, or choose a new name",
        )
    if not is_of(identity, snapshot):
        on_note(
            f"its sizes are not what {snapshot.origin} says of {snapshot.name!r}: {_difference(identity, snapshot)}"
        )
    return snapshot, store.adopt(snapshot, path, on_bytes=on_bytes, on_note=on_note)


def own_snapshot(name: str, identity: Identity, *, sha256: str, size_bytes: int) -> Snapshot:
    """Describe a checkpoint of one's own."""
    return Snapshot(
        name=name,
        architecture=identity.architecture,
        sizes=identity.sizes,
        tensors=identity.tensors,
        parameters=identity.parameters,
        sha256=sha256,
        size_bytes=size_bytes,
    )


def entry_of(snapshot: Snapshot) -> dict[str, Any]:
    """Return what a manifest says about a snapshot, without what is not known."""
    values = {
        "aliases": list(snapshot.aliases),
        "architecture": snapshot.architecture,
        "sizes": dict(snapshot.sizes),
        "sources": list(snapshot.sources),
        "tensors": snapshot.tensors,
        "parameters": snapshot.parameters,
        "size_bytes": snapshot.size_bytes,
        "sha256": snapshot.sha256,
        "licence": snapshot.licence,
        "notes": snapshot.notes,
    }
    return {key: value for key, value in values.items() if value not in (None, "", [], {})}


def add_snapshot(
    name: str,
    source: str,
    manifest: Manifest,
    store: Store,
    *,
    sha256: str | None = None,
    user_file: Path | None = None,
    on_bytes: OnBytes,
    on_note: OnNote,
) -> tuple[Snapshot, Path]:
    """Fetch a checkpoint from a source, recognise it and write it into the user's manifest, pinned to its digest.

    Args:
        name: A name that is not taken.
        source: A MEGA link, https:, http: (with a digest) or file: link.
        manifest: What is known.
        store: Where it goes.
        sha256: The digest that it must have.
        user_file: The manifest that it is written into; None for the user's own.
        on_bytes: Told (bytes done, bytes in all or None).
        on_note: Told what a person may want to know.

    Raises:
        UsageError: The name is taken or cannot be used, the digest is none, or nothing vouches for the source.
        CheckpointError: It is no checkpoint, holds code, or is of no known architecture; it is removed again.
        DownloadError: It cannot be fetched.
    """
    check_new_name(name, manifest)
    if sha256 is not None:
        is_digest, expected = SNAPSHOT_KEYS["sha256"]
        if not is_digest(sha256):
            raise UsageError(f"--sha256 must be {expected}; it is {sha256!r}", "copy it from where the file is offered")
        sha256 = sha256.lower()
    if source.startswith("http:") and sha256 is None:
        raise UsageError(f"nothing vouches for {source}", "give its digest with --sha256, or use https")
    wanted = Snapshot(name=name, sources=(source,), sha256=sha256, origin="--sha256")
    path = store.fetch(wanted, on_bytes=on_bytes, on_note=on_note)
    try:
        identity = identify(path)
    except CheckpointError:
        store.remove(wanted, forget=True)
        raise
    digest = sha256 or digest_of(path)
    snapshot = replace(
        own_snapshot(name, identity, sha256=digest, size_bytes=path.stat().st_size),
        sources=(source,),
        notes=f"added on {dt.datetime.now(dt.UTC).date()}",
    )
    write_snapshot(name, entry_of(snapshot), user_file)
    return snapshot, path


def convert(snapshot: Snapshot, store: Store, output: Path | None = None) -> Path:
    """Write a snapshot's tensors as safetensors, which cannot hold code.

    Args:
        snapshot: Which one; must be on this machine.
        store: Where it lies.
        output: Where to write; None: beside the original, used in its place from then on.

    Raises:
        SnapshotMissing: It is not here.
        CheckpointError: It cannot be read, or `output` cannot be written.
    """
    source = store.path_of(snapshot)
    if output is None and source.suffix == ".safetensors":
        return source

    def write(target: Path) -> None:
        # Tied tensors share memory, which the format refuses.
        state = {name: tensor.clone().contiguous() for name, tensor in read_state(source).items()}
        write_weights(target, state, snapshot.architecture or "")

    if output is None:
        return store.adopt_converted(snapshot, write)
    if output.suffix != ".safetensors":
        raise UsageError(
            f"--output {output} does not end in .safetensors", f"write {output.with_suffix('.safetensors')}"
        )
    write(output)
    return output


def check_new_name(name: str, manifest: Manifest) -> None:
    """Refuse a name that a checkpoint of one's own cannot have.

    Raises:
        UsageError: It is taken, or cannot be a name.
    """
    if is_known(name, manifest):
        raise UsageError(f"{name!r} is taken", f"choose another name, or change [snapshots.{name}] in your models.toml")
    if name in manifest.presets:
        raise UsageError(f"{name!r} is taken: it is an ensemble", "choose another name")
    if not is_name(name):
        raise UsageError(f"{name!r} cannot be the name of a snapshot", f"use {NAME_RULE}")


def is_known(name: str, manifest: Manifest) -> bool:
    """Tell whether a snapshot or alias has this name."""
    return name in manifest.snapshots or any(name in snapshot.aliases for snapshot in manifest.snapshots.values())


def _recognised(path: Path, identity: Identity, manifest: Manifest) -> Snapshot:
    """Find the one published snapshot that a checkpoint can be."""
    fitting = [
        snapshot
        for snapshot in manifest.snapshots.values()
        if snapshot.bundled is None and snapshot.architecture is not None and is_of(identity, snapshot)
    ]
    if any(snapshot.sha256 for snapshot in fitting):
        digest = digest_of(path)
        for snapshot in fitting:
            if snapshot.sha256 == digest:
                return snapshot
        fitting = [snapshot for snapshot in fitting if snapshot.sha256 is None]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(snapshot.name for snapshot in fitting)
    could = f"could be {names}" if fitting else "is none of the known snapshots"
    raise UsageError(
        f"{path} is a {identity.architecture} checkpoint and {could}", "say what to call it: --as NAME (known or new)"
    )


def _difference(identity: Identity, snapshot: Snapshot) -> str:
    differing = [
        f"{name} {identity.sizes[name]} instead of {size}"
        for name, size in snapshot.sizes.items()
        if identity.sizes.get(name, size) != size
    ]
    if not differing:
        differing = [f"{identity.tensors} tensors instead of {snapshot.tensors}"]
    return ", ".join(differing)


def _plain(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor values as TOML has them: tuples become lists."""
    return {name: list(size) if isinstance(size, tuple | list) else size for name, size in sizes.items()}
