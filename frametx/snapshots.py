"""From what a person calls a model to a network: names of the manifest, presets and checkpoint files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from frametx.ensemble import Rule
from frametx.errors import UsageError
from frametx.manifest import Manifest, Snapshot, load_manifest
from frametx.models.checkpoint import load_network
from frametx.store import Store
from frametx.windows import WindowOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from frametx.models.network import Network

CHECKPOINT_SUFFIXES = frozenset((".pth", ".pt", ".ckpt", ".safetensors", ".bin"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A checkpoint that is on this machine.

    Attributes:
        name: What it is called in messages.
        path: The file.
        architecture: What it must be; None to recognise it by its tensors.
    """

    name: str
    path: Path
    architecture: str | None = None

    def load(self) -> Network:
        """The network, in eval mode, in float32, on the CPU.

        Raises:
            CheckpointError: The file cannot be read, or is another architecture.
        """
        return load_network(self.path, self.architecture)


def resolve_models(
    models: str | Path | Sequence[str | Path],
    windows: WindowOptions,
    *,
    offline: bool = False,
    manifest: Manifest | None = None,
    on_note: Callable[[str], None] | None = None,
    on_bytes: Callable[[int, int | None], None] | None = None,
) -> tuple[list[Model], WindowOptions]:
    """Find the checkpoints that models stand for, fetching what is not here.

    Args:
        models: Names, presets or paths of checkpoints, in a list or separated by commas; empty: the default.
        windows: The rule and weights of a preset are put in where they are not set.
        offline: Never fetch.
        manifest: What names mean; None to read it.
        on_note: Told what happens meanwhile.
        on_bytes: Told (bytes done, bytes in all or None) while something is fetched.

    Raises:
        UsageError: A name that means nothing.
        SnapshotMissing: A snapshot that is not here and may not be fetched.
        DownloadError: A snapshot could not be fetched.
    """
    manifest = manifest or load_manifest()
    names = _names(models, manifest) if isinstance(models, str | Path) else [str(name) for name in models]
    names = names or [manifest.default]
    preset = manifest.presets.get(names[0]) if len(names) == 1 else None
    if preset is not None:
        names = list(preset.models)
        windows = replace(windows, rule=windows.rule or Rule(preset.rule), weights=windows.weights or preset.weights)
    store = Store()
    found = []
    for name in names:
        path = Path(name).expanduser()
        if _is_file(path):
            found.append(Model(name=path.name, path=path))
            continue
        snapshot = _snapshot(name, manifest)
        fetched = store.fetch(
            snapshot,
            offline=offline,
            **{k: v for k, v in (("on_note", on_note), ("on_bytes", on_bytes)) if v},  # type: ignore[arg-type]
        )
        found.append(Model(name=name, path=fetched, architecture=snapshot.architecture))
    if len({model.path for model in found}) < len(found):
        raise UsageError(f"'{','.join(names)}' names one checkpoint twice", "name every model once")
    return found, windows


def load_model(name_or_path: str | Path = "", *, offline: bool = False) -> Network:
    """Load one model as a `torch.nn.Module` in eval mode.

    Args:
        name_or_path: A name of the manifest or a checkpoint file; empty: the default model.
        offline: Never fetch.

    Returns:
        The network: magnitudes `[b c f t]`, divided by the song's peak and without the Nyquist bin, to logits of the
        mask `[b c f t]`. All sizes are read from the tensors.

    Raises:
        FrametxError: There is no such model, or it cannot be fetched or read.
    """
    found, _ = resolve_models(name_or_path, WindowOptions(), offline=offline)
    if len(found) > 1:
        raise UsageError(f"'{name_or_path}' is an ensemble of {len(found)} models", "load them one by one")
    return found[0].load()


def _names(text: str | Path, manifest: Manifest) -> list[str]:
    """The single names; the path of a file with a comma in its name is still one path."""
    if str(text) == "":
        return [manifest.default]
    if isinstance(text, Path) or Path(text).expanduser().is_file():
        return [str(text)]
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"the model list '{text}' has an empty name", "write the names with one comma between them")
    return names


def _is_file(path: Path) -> bool:
    return path.suffix.lower() in CHECKPOINT_SUFFIXES or (len(path.parts) > 1 and path.exists())


def _snapshot(name: str, manifest: Manifest) -> Snapshot:
    return manifest.snapshot(name) if name not in manifest.presets else _refuse_preset(name)


def _refuse_preset(name: str) -> Snapshot:
    raise UsageError(f"'{name}' is an ensemble of its own and can't be part of another", "name its models instead")
