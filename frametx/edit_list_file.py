"""The file of an edit list, `<track>.frametx.toml`.

People read and edit it, so everything in it is checked and every message names the entry and the way out. Comments and
the order of keys survive when frametx itself changes the file.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomlkit
import tomlkit.exceptions

from frametx.clock import check_range, parse_clock
from frametx.edit_list import EditList, Section, SongFacts, StemFile, section_values
from frametx.ensemble import Rule
from frametx.errors import EditListError, UsageError, reason_of
from frametx.outputs import Stem
from frametx.renaming import write_whole
from frametx.windows import WindowOptions

FORMAT = 1
_NOT_TEXT = "surrogateescape"  # names of files are bytes on most systems: what is no UTF-8 stays the bytes it is
_HEADER = """\
How the stems beside this file came about: the base stems, then the [[section]] entries in this order.
Change or remove sections, then run `frametx render` on this file to make the stems again."""


def read_edit_list(path: Path) -> EditList:
    """Read and check an edit list.

    Raises:
        EditListError: It cannot be read, or an entry says something wrong.
    """
    text = text_of(path)
    if text is None:
        raise EditListError(f"there is no edit list {path}", "`frametx redo` begins one")
    try:
        values = tomlkit.parse(text).unwrap()
    except tomlkit.exceptions.TOMLKitError as error:
        raise EditListError(f"{path} is not valid TOML: {error}", "correct that line") from error
    top = _Table(path, "", values, ("format", "song", "base", "stems", "section"))
    if top.take("format", int) != FORMAT:
        raise EditListError(f"{path} has format {values['format']}; this version reads {FORMAT}", "update frametx")
    song = _song(path, top.take("song", dict))
    sections = values.get("section", [])
    if not isinstance(sections, list):
        raise EditListError(
            f"{path}: 'section' is one table", "write it as [[section]], with two brackets on each side"
        )
    return EditList(
        path=path,
        song=song,
        base=_stem_files(path, "base", top.take("base", dict)),
        stems=_stem_files(path, "stems", top.take("stems", dict)),
        sections=tuple(_section(path, number, table, song) for number, table in enumerate(sections, 1)),
        text=text,
    )


def text_of(path: Path) -> str | None:
    """The text of an edit list's file; None where there is no file.

    Raises:
        EditListError: It cannot be read.
    """
    try:
        return path.read_text("utf-8-sig", _NOT_TEXT)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EditListError(
            f"{path} cannot be read: {reason_of(error)}", "name the <track>.frametx.toml of a song"
        ) from error


def write_edit_list(edits: EditList) -> EditList:
    """Write the edit list whole or not at all, keeping comments of the one that is there.

    Returns:
        The same with the text that stands in the file now.

    Raises:
        EditListError: It cannot be written.
    """
    path = edits.path
    text = _text(edits)
    try:
        write_whole(path, text, _NOT_TEXT)
    except (OSError, UnicodeEncodeError) as error:
        raise EditListError(f"{path} cannot be written: {reason_of(error)}") from error
    return replace(edits, text=text)


def _text(edits: EditList) -> str:
    """The text that is there, or a new one, brought to what the edit list says."""
    path = edits.path
    try:
        document = tomlkit.parse(text_of(path) or "")
    except tomlkit.exceptions.TOMLKitError:  # it was not read but begun anew
        document = tomlkit.document()
    if "format" not in document:
        for line in _HEADER.splitlines():
            document.add(tomlkit.comment(line))
        document["format"] = FORMAT
    song = edits.song
    _update(
        document,
        "song",
        {
            "path": _relative(song.path, path.parent),
            "sha256": song.sha256,
            "sample_rate": song.sample_rate,
            "channels": song.channels,
            "samples": song.n_samples,
            "peak_magnitude": dict(song.peaks),
        },
    )
    for name, files in (("base", edits.base), ("stems", edits.stems)):
        values: dict[str, Any] = {}
        for stem, file in files.items():
            values |= {stem.value: _relative(file.path, path.parent), f"{stem.value}_sha256": file.sha256}
        _update(document, name, values)
    _update_sections(document, [section_values(section) for section in edits.sections])
    return tomlkit.dumps(document)


class _Table:
    """The values of one table, taken one by one, with messages that name it."""

    def __init__(self, path: Path, name: str, values: dict[str, Any], known: tuple[str, ...]) -> None:
        self._where = f"{path}: {name}" if name else f"{path}:"
        self._values = values
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                raise EditListError(
                    f"{self._where} has an unknown entry '{key}'",
                    f"did you mean '{near[0]}'?" if near else f"it may have {', '.join(known)}",
                )

    def take(self, key: str, *kinds: type, default: Any = ...) -> Any:
        if key not in self._values:
            if default is ...:
                raise EditListError(
                    f"{self._where} lacks '{key}'", "restore that entry, or begin anew without this file"
                )
            return default
        value = self._values[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            words = {str: "text in quotes", int: "a whole number", float: "a number", list: "a list", dict: "a table"}
            wanted = " or ".join(words.get(kind, "true or false") for kind in kinds)
            raise EditListError(f"{self._where} has {key} = {value!r}", f"it should be {wanted}")
        return value

    def numbers(self, key: str) -> tuple[float, ...] | None:
        values = self.take(key, list, default=None)
        if values is None:
            return None
        if not all(isinstance(value, int | float) for value in values):
            raise EditListError(f"{self._where} has {key} = {values!r}", "it should be a list of numbers")
        return tuple(float(value) for value in values)

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.take(key, list, str, default=[])
        values = [values] if isinstance(values, str) else values
        if not all(isinstance(value, str) and value for value in values):
            raise EditListError(f"{self._where} has {key} = {values!r}", 'it should be a list of names, as ["v8"]')
        return tuple(values)

    def seconds(self, key: str) -> float:
        value = self.take(key, str, int, float)
        seconds = float(value) if isinstance(value, int | float) else parse_clock(value)
        if seconds is None or not 0 <= seconds < float("inf"):
            raise EditListError(f"{self._where} has {key} = {value!r}", 'write a time as "1:10", "1:10.5" or 70.5')
        return round(seconds, 3)  # as it is written: vocals that are kept are found by that, and must lie there


def _song(path: Path, values: dict[str, Any]) -> SongFacts:
    table = _Table(path, "[song]", values, ("path", "sha256", "sample_rate", "channels", "samples", "peak_magnitude"))
    peaks = table.take("peak_magnitude", dict, default={})
    if not all(isinstance(value, int | float) and value >= 0 for value in peaks.values()):
        raise EditListError(f"{path}: [song] has peak_magnitude = {peaks!r}", "remove that line; it is found again")
    facts = SongFacts(
        path=_from(path.parent, table.take("path", str)),
        sha256=table.take("sha256", str),
        sample_rate=table.take("sample_rate", int),
        channels=table.take("channels", int),
        n_samples=table.take("samples", int),
        peaks={key: float(value) for key, value in peaks.items()},
    )
    if facts.sample_rate < 1 or facts.n_samples < 1 or facts.channels not in (1, 2):
        raise EditListError(f"{path}: [song] describes no song", "restore its sample_rate, channels and samples")
    return facts


def _stem_files(path: Path, name: str, values: dict[str, Any]) -> dict[Stem, StemFile]:
    keys = [key for stem in Stem for key in (stem.value, f"{stem.value}_sha256")]
    table = _Table(path, f"[{name}]", values, tuple(keys))
    return {
        stem: StemFile(
            path=_from(path.parent, table.take(stem.value, str)), sha256=table.take(f"{stem.value}_sha256", str)
        )
        for stem in Stem
    }


def _section(path: Path, number: int, values: Any, song: SongFacts) -> Section:
    name = f"section {number}"
    if not isinstance(values, dict):
        raise EditListError(f"{path}: {name} is {values!r}", "write it as [[section]] with its entries below")
    known = (
        "from",
        "to",
        "models",
        "ensemble",
        "weights",
        "crop",
        "context",
        "tta",
        "postprocess",
        "compat",
        "precision",
        "checkpoints",
    )
    table = _Table(path, name, values, known)
    choices = {"ensemble": [rule.value for rule in Rule], "compat": ["original"], "precision": ["fp32", "bf16", "fp16"]}
    for key, offered in choices.items():
        value = table.take(key, str, default=None)
        if value is not None and value not in offered:
            raise EditListError(
                f"{path}: {name} has {key} = {value!r}", f"use {', '.join(offered)}, or remove the line"
            )
    try:
        windows = WindowOptions(
            crop=table.take("crop", int, default=None),
            context=table.take("context", int, default=None),
            rule=Rule(values["ensemble"]) if "ensemble" in values else None,
            weights=table.numbers("weights"),
            tta=table.take("tta", bool, default=False),
            postprocess=table.take("postprocess", bool, default=False),
            original="compat" in values,
        )
        section = Section(
            start_seconds=table.seconds("from"),
            end_seconds=table.seconds("to"),
            models=table.texts("models"),
            windows=windows,
            precision=table.take("precision", str, default="auto"),
            checkpoints=table.take("checkpoints", dict, default={}),
        )
        check_range(section.start_seconds, section.end_seconds, song.seconds, "it")
    except UsageError as error:
        raise EditListError(f"{path}: {name}: {error.message}", error.hint) from error
    return section


def _update(document: tomlkit.TOMLDocument, name: str, values: dict[str, Any]) -> None:
    """Set a table's values, leaving alone what is as it should be."""
    if name not in document:
        document[name] = tomlkit.table()
    _set(document[name], values)


def _set(table: Any, values: dict[str, Any]) -> None:
    for key in [key for key in table if key not in values]:
        del table[key]
    for key, value in values.items():
        if key in table and table[key] == value:
            continue
        if isinstance(value, dict):
            inline = tomlkit.inline_table()
            inline.update(value)
            value = inline  # noqa: PLW2901  (the same values, on one line)
        table[key] = value


def _update_sections(document: tomlkit.TOMLDocument, sections: list[dict[str, Any]]) -> None:
    there: Any = document.get("section")
    if there is None and sections:
        document.add(tomlkit.nl())
    if not sections:
        document.pop("section", None)
        return
    if there is None:
        document["section"] = there = tomlkit.aot()
    while len(there) > len(sections):
        there.pop()
    for index, values in enumerate(sections):
        if index < len(there):
            if parse_clock(str(there[index].get("from"))) == parse_clock(values["from"]):
                values["from"] = there[index]["from"]  # as the person wrote it
            if parse_clock(str(there[index].get("to"))) == parse_clock(values["to"]):
                values["to"] = there[index]["to"]
            _set(there[index], values)
        else:
            table = tomlkit.table()
            _set(table, values)
            there.append(table)


def _from(folder: Path, path: str) -> Path:
    return Path(os.path.normpath(folder / path))


def _relative(path: Path, folder: Path) -> str:
    """As seen from the edit list's folder, so that a folder moved with its song keeps working."""
    try:
        return Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()
    except ValueError:  # another drive
        return str(path.absolute())
