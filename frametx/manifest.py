"""models.toml -> `Snapshot` and `Preset`: every checkpoint and ensemble that has a name, checked entry by entry.

The user's own file is laid over the manifest that comes with frametx, key by key, so that two lines are enough to pin a
digest or to name a mirror. Whatever is wrong is a `ManifestError` that names the file, the entry and the way out.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from frametx.errors import ManifestError, UsageError, reason_of
from frametx.manifest_fields import Rule, check_preset, check_snapshot, check_table

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One published or own checkpoint.

    Attributes:
        name: What the command line calls it.
        aliases: Other names of the same file.
        architecture: The network's name; None when only the tensors tell.
        sizes: The network's constructor values, as far as known.
        sources: Where to fetch it, tried in order.
        bundled: A file inside the package instead of a source.
        size_bytes: Exact size of the file, if known; binding.
        sha256: Digest of the file, if known (64 hexadecimal digits); binding.
        tensors: How many tensors the checkpoint holds.
        parameters: How many parameters the network has.
        tensor_bytes: Bytes of tensor data; the file is a little larger.
        crop: Frames that a chunk owned in the original program.
        context: Frames that it saw more on either side.
        licence: The terms of the weights.
        notes: Where it comes from, what is particular about it.
        origin: The file that describes it.
    """

    name: str
    aliases: tuple[str, ...] = ()
    architecture: str | None = None
    sizes: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    bundled: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    tensors: int | None = None
    parameters: int | None = None
    tensor_bytes: int | None = None
    crop: int | None = None
    context: int | None = None
    licence: str = ""
    notes: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """An ensemble with a name: which snapshots, and how their masks are joined.

    Attributes:
        name: What the command line calls it.
        models: Names of snapshots, in order.
        rule: How the masks are joined.
        weights: One positive weight a model; only with rule `mean`.
        notes: Where it comes from.
    """

    name: str
    models: tuple[str, ...]
    rule: Rule = "min"
    weights: tuple[float, ...] | None = None
    notes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything that has a name.

    Attributes:
        snapshots: By their names, in the order of the files.
        presets: By their names.
        default: What is used when nothing is asked for: a snapshot or a preset.
        files: The files it was read from.
    """

    snapshots: Mapping[str, Snapshot]
    presets: Mapping[str, Preset]
    default: str
    files: tuple[Path, ...]

    def snapshot(self, name: str) -> Snapshot:
        """Look a snapshot up by its name or an alias.

        Raises:
            UsageError: Nothing is called that, and the nearest names are suggested; or it is a preset.
        """
        if name in self.snapshots:
            return self.snapshots[name]
        for snapshot in self.snapshots.values():
            if name in snapshot.aliases:
                return snapshot
        if name in self.presets:
            raise UsageError(
                f"{name!r} is an ensemble, and one model is wanted here",
                f"its models are {', '.join(self.presets[name].models)}",
            )
        near = difflib.get_close_matches(name.lower(), [*self.snapshots, *self.presets, *self._aliases()], 3, 0.5)
        known = ", ".join([*self.snapshots, *self.presets])
        raise UsageError(
            f"model {name!r} is not in models.toml; it has: {known}",
            f"did you mean {' or '.join(near)}?" if near else "see `frametx models list`",
        )

    def names(self, text: str = "") -> list[str]:
        """Take a list of names apart, for example `v10`, `original` or `v7,v8`; nothing is looked up.

        Args:
            text: Names with commas between them; empty: the default.

        Raises:
            UsageError: A name in the list is empty.
        """
        names = [name.strip() for name in (text or self.default).split(",")]
        if not all(names):
            raise UsageError(
                f"the model list {text!r} has an empty name", "write the names with one comma between them"
            )
        return names

    def resolve(self, text: str = "") -> tuple[Snapshot, ...]:
        """Find the snapshots that `text` asks for, as `names` reads it; those of a preset in its place.

        Raises:
            UsageError: A name is unknown, empty or given twice, or a preset is one of several.
        """
        names = self.names(text)
        preset = self.presets.get(names[0]) if len(names) == 1 else None
        snapshots = tuple(self.snapshot(name) for name in (preset.models if preset else names))
        if len({snapshot.name for snapshot in snapshots}) < len(snapshots):
            raise UsageError(f"the model list {text!r} names a snapshot twice", "name every snapshot once")
        return snapshots

    def _aliases(self) -> list[str]:
        return [alias for snapshot in self.snapshots.values() for alias in snapshot.aliases]


def bundled_manifest_path() -> Path:
    """Return the manifest that comes with frametx: inside the package, or at the top level of a checkout."""
    inside = Path(__file__).with_name("models.toml")
    return inside if inside.exists() else Path(__file__).parents[1] / "models.toml"


def user_manifest_path() -> Path:
    """Return where the user's own manifest lies or would lie: FRAMETX_MODELS, or the configuration folder."""
    named = os.environ.get("FRAMETX_MODELS")
    return Path(named).expanduser() if named else platformdirs.user_config_path("frametx") / "models.toml"


def load_manifest(extra: Path | None = None) -> Manifest:
    """Read the manifest of frametx and lay the user's own over it.

    Args:
        extra: A file to use in place of the user's own; it must exist.

    Raises:
        ManifestError: A file cannot be read or says something wrong.
    """
    files = [bundled_manifest_path()]
    if extra is not None:
        files.append(extra)
    elif user_manifest_path().exists():
        files.append(user_manifest_path())
    tables = [(path, read_manifest_file(path)) for path in files]
    snapshots: dict[str, dict[str, Any]] = {}
    presets: dict[str, dict[str, Any]] = {}
    default = ""
    for path, table in tables:
        for name, entry in table.get("snapshots", {}).items():
            base = snapshots.get(name, {})
            if "sources" in entry or "bundled" in entry:
                base = {key: value for key, value in base.items() if key not in ("sources", "bundled")}
            snapshots[name] = {**base, **entry, "origin": str(path)}
        for name, entry in table.get("presets", {}).items():
            presets[name] = {**presets.get(name, {}), **entry, "origin": str(path)}
        default = table.get("default", default)
    manifest = Manifest(
        snapshots={name: _snapshot(name, entry) for name, entry in snapshots.items()},
        presets={name: _preset(name, entry) for name, entry in presets.items()},
        default=default,
        files=tuple(files),
    )
    _check_names(manifest, presets)
    return manifest


def read_manifest_file(path: Path) -> dict[str, Any]:
    """Read one file and check everything that can be said about it alone.

    Raises:
        ManifestError: It cannot be read, is no TOML, or has wrong or unknown keys.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"cannot read the manifest {path}: {reason_of(error)}") from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{path} is not TOML: {error}") from error
    check_table(table, path=path, allowed=("format", "default", "snapshots", "presets"), entry="the top level")
    if table.get("format", FORMAT) != FORMAT:
        raise ManifestError(
            f"{path} has format {table['format']!r}; this frametx reads format {FORMAT}",
            "update frametx, or write `format = 1`",
        )
    if not isinstance(table.get("default", ""), str):
        raise ManifestError(f"{path}: default must be the name of a snapshot or preset, not {table['default']!r}")
    for kind, check in (("snapshots", check_snapshot), ("presets", check_preset)):
        entries = table.get(kind, {})
        if not isinstance(entries, dict):
            raise ManifestError(f"{path}: {kind} must be a table, written as [{kind}.NAME]")
        for name, entry in entries.items():
            check(name, entry, path=path)
    return table


def _snapshot(name: str, entry: Mapping[str, Any]) -> Snapshot:
    values = dict(entry)
    for key in ("aliases", "sources"):
        values[key] = tuple(values.get(key, ()))
    if values["sources"] and values.get("bundled"):
        raise ManifestError(
            f"{values['origin']}: snapshot {name!r} has both `sources` and `bundled`", "leave one of them out"
        )
    insecure = [source for source in values["sources"] if source.startswith("http:")]
    if insecure and not values.get("sha256"):
        raise ManifestError(
            f"{values['origin']}: snapshot {name!r} has the source {insecure[0]}, which nothing vouches for",
            "add a `sha256`, or use https",
        )
    if values.get("sha256"):
        values["sha256"] = values["sha256"].lower()
    return Snapshot(name=name, **values)


def _preset(name: str, entry: Mapping[str, Any]) -> Preset:
    values = dict(entry)
    origin = values.pop("origin")
    if not values.get("models"):
        raise ManifestError(f"{origin}: preset {name!r} names no models", 'add `models = ["...", "..."]`')
    weights = values.get("weights")
    if weights is not None:
        if values.get("rule", "min") != "mean":
            raise ManifestError(f"{origin}: preset {name!r} has weights, which only the rule `mean` uses")
        if len(weights) != len(values["models"]):
            raise ManifestError(
                f"{origin}: preset {name!r} has {len(weights)} weights for {len(values['models'])} models"
            )
        values["weights"] = tuple(float(weight) for weight in weights)
    values["models"] = tuple(values["models"])
    return Preset(name=name, **values)


def _check_names(manifest: Manifest, presets: Mapping[str, Mapping[str, Any]]) -> None:
    """Every name means one thing, and everything that is named exists."""
    taken: dict[str, str] = {}
    for snapshot in manifest.snapshots.values():
        for name in (snapshot.name, *snapshot.aliases):
            if name in taken:
                raise ManifestError(
                    f"{snapshot.origin}: {name!r} names snapshot {snapshot.name!r} and also {taken[name]!r}",
                    "rename one of them or drop the alias",
                )
            taken[name] = snapshot.name
    for preset in manifest.presets.values():
        origin = presets[preset.name]["origin"]
        if preset.name in taken:
            other = manifest.snapshots[taken[preset.name]]
            raise ManifestError(
                f"{other.origin}: snapshot {other.name!r} has the name of a preset of {origin}", "rename one of them"
            )
        missing = [name for name in preset.models if name not in taken]
        if missing:
            raise ManifestError(
                f"{origin}: preset {preset.name!r} uses {missing[0]!r}, which is no snapshot",
                f"it may use: {', '.join(manifest.snapshots)}",
            )
    if manifest.default not in (*taken, *manifest.presets):
        raise ManifestError(
            f"{manifest.files[-1]}: default {manifest.default!r} is neither a snapshot nor a preset",
            f"choose one of: {', '.join([*manifest.snapshots, *manifest.presets])}",
        )
