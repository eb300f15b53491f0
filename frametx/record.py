"""What is written beside a checkpoint in the cache: where it came from, its digest, and who vouched for it.

A checkpoint without a record is not trusted, because the record is written last before the final rename.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from frametx.renaming import write_whole

if TYPE_CHECKING:
    from pathlib import Path

Vouched = Literal["pinned", "first use", "imported", "converted"]
CONVERTED_FROM = "sha256:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The facts about one file of the cache.

    Attributes:
        source: The link it came from, or the file it was imported from.
        size_bytes: Its size.
        sha256: Its digest.
        vouched: `pinned`: the manifest's digest; `first use`: MEGA's code or the https connection at the first
            download; `imported`: only the person who brought it; `converted`: made here from the file whose digest
            `source` names.
        when: When it was written, ISO 8601, UTC.
    """

    source: str
    size_bytes: int
    sha256: str
    vouched: Vouched
    when: str

    @property
    def original_sha256(self) -> str:
        """The digest of the checkpoint that the tensors came in: of this file, or of the one it was converted from."""
        converted_from = self.source.removeprefix(CONVERTED_FROM) if self.vouched == "converted" else ""
        return converted_from or self.sha256


def record_path(file: Path) -> Path:
    """Return where the record of `file` lies."""
    return file.with_name(file.name + ".json")


def read_record(file: Path) -> Record | None:
    """Read the record of `file`; None when there is none or it says nothing usable."""
    try:
        values: Any = json.loads(record_path(file).read_text("utf-8"))
        record = Record(**values)
    except (OSError, ValueError, TypeError):
        return None
    texts = (record.source, record.sha256, record.when)
    usable = (
        all(isinstance(text, str) for text in texts)
        and isinstance(record.size_bytes, int)
        and record.vouched in get_args(Vouched)
    )
    return record if usable else None


def write_record(file: Path, record: Record) -> None:
    """Write the record of `file`, whole or not at all."""
    write_json(record_path(file), asdict(record))


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a small JSON file, whole or not at all."""
    write_whole(path, json.dumps(values, indent=2) + "\n")
