"""From what a person calls a model to a network: names of the manifest, presets and checkpoint files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frametx.ensemble import Rule, check_weights
from frametx.errors import UsageError
from frametx.manifest import Manifest, Preset, Snapshot, load_manifest
from frametx.manifest_fields import CHECKPOINT_SUFFIXES
from frametx.models.checkpoint import check_is_file, load_network, network_for, read_shapes
from frametx.models.detect import network_class
from frametx.store import Store
from frametx.windows import WindowOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from frametx.models.network import Network


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

    def network_class(self) -> type[Network]:
        """What it is a checkpoint of; a named one is not read for that.

        Raises:
            CheckpointError: The file cannot be read, or is not a checkpoint of a known architecture.
        """
        if self.architecture is not None:
            return network_class(self.architecture)
        return type(network_for(read_shapes(self.path), self.path))


def resolve_models(
    models: str | Path | Sequence[str | Path],
    windows: WindowOptions,
    *,
    offline: bool = False,
    on_note: Callable[[str], None] | None = None,
    on_bytes: Callable[[int, int | None], None] | None = None,
) -> tuple[list[Model], WindowOptions]:
    """Find the checkpoints that models stand for, fetching what is not here.

    Args:
        models: Names, presets or paths of checkpoints, in a list or separated by commas; empty: the default.
        windows: The rule and weights of a preset are put in where they are not set.
        offline: Never fetch.
        on_note: Told what happens meanwhile.
        on_bytes: Told (bytes done, bytes in all or None) while something is fetched.

    Raises:
        UsageError: A name that means nothing.
        CheckpointError: A path that leads to no file.
        SnapshotMissing: A snapshot that is not here and may not be fetched.
        DownloadError: A snapshot could not be fetched.
    """
    manifest = load_manifest()
    names, preset = _names(models, manifest)
    if preset is not None:
        windows = replace(windows, rule=windows.rule or Rule(preset.rule), weights=windows.weights or preset.weights)
    check_weights(windows.weights, len(names), windows.rule or Rule.MIN)
    meant = [_meant(name, manifest) for name in names]  # all of them before the first download
    if len({str(one) if isinstance(one, Path) else one.name for one in meant}) < len(meant):
        raise UsageError(f"'{','.join(names)}' names one checkpoint twice", "name every model once")
    store = Store()
    told: dict[str, Any] = {key: value for key, value in (("on_note", on_note), ("on_bytes", on_bytes)) if value}
    found = []
    files = [one for one in meant if isinstance(one, Path)]
    for name, one in zip(names, meant, strict=True):
        if isinstance(one, Path):
            found.append(Model(name=_short_name(one, files), path=one))
        else:
            path = store.fetch(one, offline=offline, **told)
            found.append(Model(name=name, path=path, architecture=one.architecture))
    return found, windows


def model_names(models: str | Path | Sequence[str | Path]) -> list[str]:
    """The single models that are meant, those of a preset in its place; nothing is fetched or looked up.

    Raises:
        UsageError: An empty name in a list.
    """
    names, _ = _names(models, load_manifest())
    return names


def resolve_model(name: str | Path, *, offline: bool = False, on_note: Callable[[str], None] | None = None) -> Model:
    """As `resolve_models`, for one.

    Raises:
        FrametxError: There is no such model, it is an ensemble, or it cannot be fetched.
    """
    n_models = len(model_names(name))
    if n_models > 1:
        raise UsageError(f"'{name}' is an ensemble of {n_models} models", "name one of them")
    (model,), _ = resolve_models(name, WindowOptions(), offline=offline, on_note=on_note)
    return model


def load_model(name_or_path: str | Path = "", *, offline: bool = False) -> Network:
    """Load one model as a `torch.nn.Module` in eval mode.

    Args:
        name_or_path: A name of the manifest or a checkpoint file; empty: the default model.
        offline: Never fetch.

    Returns:
        The network: magnitudes `[b c f t]`, divided by the song's peak and without the Nyquist bin, to logits of the
        mask `[b c f t]`. Its `framing` is the STFT, its `feeding` says what else than left and right the input's
        channels are, if anything. All sizes are read from the tensors.

    Raises:
        FrametxError: There is no such model, or it cannot be fetched or read.
    """
    return resolve_model(name_or_path, offline=offline).load()


def _names(models: str | Path | Sequence[str | Path], manifest: Manifest) -> tuple[list[str], Preset | None]:
    """What is named, a preset taken apart; the path of a file with a comma in its name is still one path."""
    if isinstance(models, Path) or (models and isinstance(models, str) and Path(models).expanduser().is_file()):
        return [str(models)], None
    names = manifest.names(models) if isinstance(models, str) else [str(name) for name in models or manifest.names()]
    preset = manifest.presets.get(names[0]) if len(names) == 1 else None
    return (names if preset is None else list(preset.models)), preset


def _short_name(path: Path, files: list[Path]) -> str:
    """As much of a path's end as tells it from the other files: its name, or run1/best.safetensors."""
    parts, others = path.absolute().parts, [other.absolute().parts for other in files if other is not path]
    n_parts = next((n for n in range(1, len(parts)) if all(other[-n:] != parts[-n:] for other in others)), 1)
    return "/".join(parts[-n_parts:])


def _meant(name: str, manifest: Manifest) -> Path | Snapshot:
    path = Path(name).expanduser()
    if path.suffix.lower() in CHECKPOINT_SUFFIXES or (len(path.parts) > 1 and path.exists()):
        check_is_file(path)
        return path
    return manifest.snapshot(name)
