"""The keys of a manifest's entries and what each may hold."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import urlsplit

from frametx.download.links import kind_of_source, parse_mega_link
from frametx.errors import DownloadError, ManifestError

if TYPE_CHECKING:
    from pathlib import Path

ARCHITECTURES = ("v1", "v2b", "v4", "v6", "v7", "v8", "v9", "v10", "gan-v1", "libft2", "mini")
Rule = Literal["min", "max", "mean", "median"]
RULES: tuple[str, ...] = get_args(Rule)
CHECKPOINT_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors", ".bin")
# A name becomes a folder of the cache and a word of a comma list, where what ends like a checkpoint is a file.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")

Check = tuple[Callable[[Any], bool], str]


def is_name(value: Any) -> bool:
    """Tell whether a value may name a snapshot or preset."""
    if not isinstance(value, str) or value.lower().endswith(CHECKPOINT_SUFFIXES):
        return False
    return _NAME.fullmatch(value) is not None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_size(value: Any) -> bool:
    """A constructor value: a number, a word or a list of them."""
    return isinstance(value, int | float | str) or (isinstance(value, list) and all(map(_is_size, value)))


def _is_source(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        kind = kind_of_source(value)
        if kind == "mega":
            parse_mega_link(value)
    except (ValueError, DownloadError):
        return False
    return kind != "file" or bool(urlsplit(value).path)


def _is_list(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


_TEXT: Check = (lambda value: isinstance(value, str), "a text")
_COUNT: Check = (_is_count, "a whole number, 0 or more")
NAME_RULE = "letters, digits and . _ + -, at most 64, and no ending of checkpoint files"

SNAPSHOT_KEYS: Mapping[str, Check] = {
    "aliases": (_is_list(is_name), f"a list of names ({NAME_RULE})"),
    "architecture": (lambda value: value in ARCHITECTURES, f"one of {', '.join(ARCHITECTURES)}"),
    "sizes": (
        lambda value: isinstance(value, dict) and all(map(_is_size, value.values())),
        "a table of the network's constructor values",
    ),
    "sources": (
        _is_list(_is_source),
        "a list of links: https://mega.nz/file/HANDLE#KEY, https://..., http://... or file:///...",
    ),
    "bundled": (
        lambda value: isinstance(value, str) and _FILE_NAME.fullmatch(value) is not None,
        "the name of a file inside the package, without folders",
    ),
    "size_bytes": _COUNT,
    "sha256": (lambda value: isinstance(value, str) and _SHA256.fullmatch(value) is not None, "64 hexadecimal digits"),
    "tensors": _COUNT,
    "parameters": _COUNT,
    "tensor_bytes": _COUNT,
    "crop": (lambda value: _is_count(value) and value > 0, "a whole number of frames, 1 or more"),
    "context": _COUNT,
    "licence": _TEXT,
    "notes": _TEXT,
}
PRESET_KEYS: Mapping[str, Check] = {
    "models": (lambda value: _is_list(is_name)(value) and len(value) > 0, "a list of snapshots"),
    "rule": (lambda value: value in RULES, f"one of {', '.join(RULES)}"),
    "weights": (
        _is_list(lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value > 0),
        "a list of positive numbers",
    ),
    "notes": _TEXT,
}


def check_snapshot(name: str, entry: Any, *, path: Path) -> None:
    """Check one `[snapshots.NAME]`.

    Raises:
        ManifestError: The name, a key or a value is wrong.
    """
    _check_entry("snapshot", name, entry, SNAPSHOT_KEYS, path)


def check_preset(name: str, entry: Any, *, path: Path) -> None:
    """Check one `[presets.NAME]`.

    Raises:
        ManifestError: The name, a key or a value is wrong.
    """
    _check_entry("preset", name, entry, PRESET_KEYS, path)


def check_table(
    table: Mapping[str, Any], *, path: Path, allowed: Mapping[str, Any] | tuple[str, ...], entry: str
) -> None:
    """Refuse unknown keys, because a misspelt `sha256` must not go unnoticed.

    Raises:
        ManifestError: A key is unknown; the nearest known one is suggested.
    """
    for key in table:
        if key not in allowed:
            near = difflib.get_close_matches(key, list(allowed), n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(allowed)}"
            raise ManifestError(f"{path}: {entry} has an unknown key {key!r}", hint)


def _check_entry(kind: str, name: str, entry: Any, keys: Mapping[str, Check], path: Path) -> None:
    if not is_name(name):
        raise ManifestError(f"{path}: {kind} {name!r} has a name that cannot be used", f"use {NAME_RULE}")
    if not isinstance(entry, dict):
        raise ManifestError(f"{path}: {kind} {name!r} must be a table, written as [{kind}s.{name}]")
    check_table(entry, path=path, allowed=keys, entry=f"{kind} {name!r}")
    for key, value in entry.items():
        accepts, expected = keys[key]
        if not accepts(value):
            raise ManifestError(f"{path}: {kind} {name!r}: `{key}` must be {expected}; it is {value!r}")
