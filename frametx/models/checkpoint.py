"""From a checkpoint file to a network: read without running anything in it, recognise it, hold it against its class.

Files are bare state dicts, or state dicts under one of the usual keys, saved by `torch.save` (`.pth`, `.pt`, `.ckpt`,
old ones included) or as `.safetensors`.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from frametx.errors import CheckpointError, reason_of
from frametx.models.detect import architecture_of, network_class

if TYPE_CHECKING:
    from pathlib import Path

    from frametx.models.network import Network, Shapes

FETCH_AGAIN = "fetch the file again, or give another .pth or .safetensors file"
WRAPPERS = ("state_dict", "model", "model_state_dict", "generator", "network", "net")
PREFIXES = ("module.", "_orig_mod.", "model.", "generator.", "network.", "net.")
SHOWN = 3  # names per kind of difference; the first ones tell the story
HEAD = 4


def load_network(path: Path, architecture: str | None = None) -> Network:
    """Load a checkpoint as a network ready to estimate masks.

    Args:
        path: The checkpoint.
        architecture: What it must be; None to recognise it by its tensors.

    Returns:
        The network in eval mode, in float32, on the CPU; large files stay mapped and are read as they are used.

    Raises:
        CheckpointError: The file cannot be read, or is not this architecture.
    """
    state = read_state(path)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    network = network_for(shapes, path, architecture)
    expected = network.state_dict()
    whole = [name for name, tensor in state.items() if tensor.dtype != expected[name].dtype]
    if whole:
        raise CheckpointError(
            f"{path} holds {state[whole[0]].dtype} in {whole[0]}, where floating-point weights belong",
            "quantised checkpoints cannot be used; take the one it was made from",
        )
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def write_weights(path: Path, state: Mapping[str, Tensor], architecture: str) -> None:
    """Write tensors as safetensors, readable for whom the umask lets.

    Raises:
        CheckpointError: The file cannot be written; nothing of it is left, and one that was there before still is.
    """
    fresh = not path.exists()
    try:
        path.touch()
        mode = path.stat().st_mode
        save_file(dict(state), str(path), metadata={"format": "pt", "architecture": architecture})
        path.chmod(mode)  # safetensors puts a private file in its place
    except (OSError, RuntimeError, SafetensorError) as error:
        if fresh:
            with suppress(OSError):
                path.unlink()
        raise CheckpointError(
            f"cannot write {path}: {reason_of(error)}", "is there room, and may the folder be written?"
        ) from error


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read names and shapes of a checkpoint's tensors, in order, without reading the tensors.

    Raises:
        CheckpointError: The file cannot be read.
    """
    return {name: tuple(tensor.shape) for name, tensor in _tensors(path).items()}


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint's tensors in float32, wrappers and prefixes taken off.

    Raises:
        CheckpointError: The file cannot be read.
    """
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in _tensors(path).items()}


def network_for(shapes: Shapes, path: Path, architecture: str | None = None) -> Network:
    """Build, without memory for its tensors, the network that a checkpoint's shapes belong to.

    Args:
        shapes: Names and shapes of the tensors.
        path: Named in messages.
        architecture: What it must be; None to recognise it.

    Raises:
        CheckpointError: The shapes are not of one network.
    """
    try:
        cls = architecture_of(shapes)
    except CheckpointError as error:
        if architecture is None:
            raise CheckpointError(f"{path} holds {error.message}", error.hint) from None
        cls = network_class(architecture)
    if architecture is not None and cls is not network_class(architecture):
        raise _mistaken(shapes, path, cls.architecture, architecture)
    try:
        sizes = cls.sizes_from(shapes)
        with torch.device("meta"):
            network = cls(**sizes)
    except KeyError as error:
        raise CheckpointError(
            f"{path} is not a whole {cls.architecture} checkpoint: 1 tensor missing, first {error.args[0]}", FETCH_AGAIN
        ) from error
    except (IndexError, ValueError, TypeError, ZeroDivisionError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is not a whole {cls.architecture} checkpoint: its shapes contradict each other", FETCH_AGAIN
        ) from error
    expected = _shapes_of(network)
    if expected != dict(shapes):
        raise CheckpointError(f"{path} is no {cls.architecture} checkpoint: {_difference(expected, shapes)}")
    return network


def _mistaken(shapes: Shapes, path: Path, found: str, asked: str) -> CheckpointError:
    missing = [name for name in _default_shapes(network_class(asked)) if name not in shapes]
    return CheckpointError(
        f"{path} is a {found} checkpoint, {asked} was asked for: {_listed('missing', missing)}",
        f"use it as {found}, or let the architecture be recognised",
    )


def _shapes_of(network: Network) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def _default_shapes(cls: type[Network]) -> dict[str, tuple[int, ...]]:
    # every architecture has the released sizes as defaults
    with torch.device("meta"):
        return _shapes_of(cls())  # type: ignore[call-arg]


def _difference(expected: Shapes, found: Shapes) -> str:
    """Say in one line how two tensor lists differ."""
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    reshaped = [
        f"{name} is {_size(found[name])} instead of {_size(expected[name])}"
        for name in expected
        if name in found and tuple(found[name]) != tuple(expected[name])
    ]
    lists = (_listed("missing", missing), _listed("too many", extra), _listed("of another shape", reshaped))
    return "; ".join(text for text in lists if text)


def _listed(kind: str, names: list[str]) -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > SHOWN else ""
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''} {kind}, first {', '.join(names[:SHOWN])}{more}"


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a scalar"


def check_is_file(path: Path) -> None:
    """Say early that a path leads to no file.

    Raises:
        CheckpointError: Nothing is there, or a folder.
    """
    if not path.is_file():
        what = "is a folder, not a checkpoint" if path.is_dir() else "does not exist"
        raise CheckpointError(f"{path} {what}", "give a .pth or .safetensors file")


def _tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file as they are stored, wrappers and prefixes taken off."""
    check_is_file(path)
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise CheckpointError(
            f"{path} cannot be opened: torch takes only paths that are UTF-8", "rename the file or its folder"
        ) from None
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        payload = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path, head)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {reason_of(error)}") from error
    tensors = _without_prefixes(_unwrapped(payload))
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors", "give a state dict saved by torch.save or as safetensors")
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            names = list(file.keys())  # not a dict: no iteration without keys()
            return {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a whole safetensors file: {error}", FETCH_AGAIN) from error


def _read_pickle(path: Path, head: bytes) -> Any:
    zipped = zipfile.is_zipfile(path)
    if head.startswith(b"PK") and not zipped:
        raise CheckpointError(f"{path} is cut off: its end is missing", FETCH_AGAIN)
    try:
        # files from before torch 1.6 are no zip archives and cannot be mapped
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        if zipped:
            raise CheckpointError(
                f"{path} holds more than tensors, which could run code: it was not loaded",
                "use checkpoints of plain tensors only; convert this one where you trust it",
            ) from error
        raise CheckpointError(f"{path} is not a checkpoint: it starts with {head!r}", FETCH_AGAIN) from error
    except Exception as error:  # arbitrary bytes make the unpickler raise arbitrary things
        if not head.startswith((b"PK", b"\x80")):  # neither a zip archive nor a pickle
            raise CheckpointError(f"{path} is not a checkpoint: it starts with {head!r}", FETCH_AGAIN) from error
        reason = str(error).partition("\n")[0][:200]
        raise CheckpointError(f"{path} is not a whole checkpoint: {reason}", FETCH_AGAIN) from error


def _unwrapped(payload: Any) -> dict[str, Tensor]:
    """Find the state dict in what a file holds."""
    if not isinstance(payload, Mapping):
        return {}
    for wrapper in WRAPPERS:  # first: beside a wrapped state dict there may lie a loose tensor, such as a loss
        if isinstance(payload.get(wrapper), Mapping):
            return _unwrapped(payload[wrapper])
    return {str(name): value for name, value in payload.items() if isinstance(value, Tensor)}


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off what wrapping a network puts before every name."""
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return _without_prefixes({name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    return tensors
