"""Where stems come from: what made them, and of which song.

A *recipe* is everything besides the song that decides what is in a stem. It is written into every stem's tags, before
the stem gets its name, so that even after a power cut no stem is without its provenance.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from frametx import __version__
from frametx.errors import AudioError, reason_of
from frametx.record import read_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from frametx.outputs import OutputOptions
    from frametx.snapshots import Model
    from frametx.windows import WindowOptions

TAG = "frametx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything besides the song that decides what is in its stems.

    Attributes:
        models: Name and SHA-256 of each checkpoint.
        masks: What decides the masks: windows, rules, precision, the section.
        files: What decides the files: format, bit depth, tags.
    """

    models: tuple[tuple[str, str], ...]
    masks: Mapping[str, Any]
    files: Mapping[str, Any]

    @property
    def key(self) -> str:
        """16 hexadecimal digits, equal for recipes that give equal stems; names of models don't matter."""
        return _digest([[sha256 for _, sha256 in self.models], self.masks, self.files])

    @property
    def masks_key(self) -> str:
        """The same for the masks alone."""
        return _digest([[sha256 for _, sha256 in self.models], self.masks])

    def tag(self, song_sha256: str) -> str:
        """The recipe and the song's digest as one line of JSON, for a stem's tags."""
        values = {"version": __version__, "key": self.key, "song_sha256": song_sha256, **self.as_dict()}
        return json.dumps(values, separators=(",", ":"))

    def as_dict(self) -> dict[str, Any]:
        """Models and parameters for JSON; parameters that are not set are left out."""
        parameters = {name: value for name, value in {**self.masks, **self.files}.items() if value not in (None, False)}
        return {"models": [{"name": name, "sha256": sha256} for name, sha256 in self.models], "parameters": parameters}


def recipe_for(
    models: Sequence[Model],
    windows: WindowOptions,
    precision: str,
    options: OutputOptions,
    *,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
) -> Recipe:
    """The recipe that these options stand for. Batch size and device are no part of it: they only round differently."""
    masks = asdict(windows) | {"precision": precision, "start_seconds": start_seconds, "end_seconds": end_seconds}
    del masks["batch_size"]
    if len(models) == 1:
        masks |= {"rule": None, "weights": None}
    return Recipe(
        models=tuple((model.name, checkpoint_sha256(model.path)) for model in models),
        masks=masks,
        files=options.recipe(),
    )


def is_of_a_part(parameters: Mapping[str, Any]) -> bool:
    """Tell whether parameters speak of a section of the song, not of all of it."""
    return bool(parameters.get("start_seconds")) or parameters.get("end_seconds") is not None


def checkpoint_sha256(path: Path) -> str:
    """The digest of a checkpoint: from its record in the cache, else computed, once a process.

    A conversion has that of the file it was made from: with the same tensors it gives the same stems.

    Raises:
        AudioError: It cannot be read.
    """
    record = read_record(path)
    if record is not None:
        return record.original_sha256
    return known_sha256(path)


def known_sha256(path: Path) -> str:
    """The digest of a file, computed once as long as its size and the time of its last change stay.

    Raises:
        AudioError: It cannot be read.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise AudioError(f"{path} cannot be read: {reason_of(error)}") from error
    return _sha256(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, path)


@functools.lru_cache(maxsize=64)
def _sha256(_device: int, _inode: int, _size: int, _mtime_ns: int, path: Path) -> str:
    return file_sha256(path)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file.

    Raises:
        AudioError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AudioError(f"{path} cannot be read: {reason_of(error)}") from error


def _digest(values: Any) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
