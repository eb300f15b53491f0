"""Reads a training from its TOML file, with messages that name the key."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from frametx.errors import TrainingError
from frametx.training.config import Source, TrainingConfig


def read_config(path: Path) -> TrainingConfig:
    """Read a training from a TOML file.

    Raises:
        TrainingError: It cannot be read, or says something that cannot be meant.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"the config {path} cannot be read: {error}") from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"{path} is no TOML: {error}") from error
    config: TrainingConfig = _build(TrainingConfig, table, "", path)
    _check(config, path)
    return config


def _build(cls: Any, table: Any, where: str, path: Path) -> Any:
    """Make a dataclass from a table, naming keys that are unknown, missing or of the wrong type."""
    if not isinstance(table, Mapping):
        raise TrainingError(f"{path}: {where} should be a table, not {table!r}")
    known = {f.name: f for f in fields(cls)}
    hints = get_type_hints(cls)
    prefix = f"{where}." if where else ""
    for key in table:
        if key not in known:
            raise TrainingError(f"{path}: unknown key {prefix}{key}", f"known here: {', '.join(known)}")
    for name, f in known.items():
        if name not in table and f.default is MISSING and f.default_factory is MISSING:
            raise TrainingError(f"{path}: {prefix}{name} is missing")
    return cls(**{key: _value(hints[key], value, f"{prefix}{key}", path) for key, value in table.items()})


def _value(hint: Any, value: Any, where: str, path: Path) -> Any:  # noqa: PLR0911  (one return a kind of type)
    """Check a value against its type, and turn tables and paths into what they stand for."""
    if is_dataclass(hint):
        if hint is Source and isinstance(value, str):
            value = {"folder": value}
        return _build(hint, value, where, path)
    if type(None) in get_args(hint):
        return _value(get_args(hint)[0], value, where, path)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise TrainingError(f"{path}: {where} = {value!r} is none of {', '.join(map(str, get_args(hint)))}")
        return value
    if get_origin(hint) is tuple:
        return _list(get_args(hint), value, where, path)
    if hint is Path and isinstance(value, str):
        return path.parent / Path(value).expanduser()
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = Mapping if get_origin(hint) is Mapping else hint
    if not isinstance(value, Mapping if expected is Mapping else expected) or (hint is int and isinstance(value, bool)):
        names = {float: "a number", int: "a whole number", bool: "true or false", str: "a text", Path: "a path"}
        raise TrainingError(f"{path}: {where} = {value!r} should be {names.get(expected, 'a table')}")
    return dict(value) if isinstance(value, Mapping) else value


def _list(kinds: tuple[Any, ...], value: Any, where: str, path: Path) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise TrainingError(f"{path}: {where} = {value!r} should be a list")
    if kinds[-1] is not Ellipsis and len(value) != len(kinds):
        raise TrainingError(f"{path}: {where} should have {len(kinds)} values, it has {len(value)}")
    return tuple(_value(kinds[0], item, f"{where}[{i}]", path) for i, item in enumerate(value))


def _check(config: TrainingConfig, path: Path) -> None:
    """Refuse values that are of the right type and still cannot be meant."""
    if not config.stages:
        raise TrainingError(f"{path}: there are no stages", "add a [[stages]] table with steps, frames and batch")
    least = [
        (f"stages[{i}].{name}", getattr(stage, name), 1)
        for i, stage in enumerate(config.stages)
        for name in ("steps", "frames", "batch")
    ]
    least += [("optimiser.accumulate", config.optimiser.accumulate, 1), ("data.workers", config.data.workers, 0)]
    least += [("checkpoint_steps", config.checkpoint_steps, 1), ("log_steps", config.log_steps, 1)]
    for name, value, smallest in least:
        if value < smallest:
            raise TrainingError(f"{path}: {name} = {value} should be at least {smallest}")
    shares = [("mixing", name) for name in ("true_pairs", "no_vocals", "only_vocals", "second_voice")]
    shares += [("augment", name) for name in ("speed", "swap", "width", "spread", "narrow", "band_limit", "codec")]
    for table, name in shares:
        value = getattr(getattr(config, table), name)
        if not 0 <= value <= 1:
            raise TrainingError(f"{path}: {table}.{name} = {value} is a share, from 0 to 1")
    if config.optimiser.learning_rate <= 0:
        raise TrainingError(f"{path}: optimiser.learning_rate = {config.optimiser.learning_rate} should be above 0")
    if not 0 <= config.optimiser.ema < 1:
        raise TrainingError(f"{path}: optimiser.ema = {config.optimiser.ema} should be from 0 to below 1")
    data = config.data
    if not data.pairs and not (data.instrumentals and data.vocals):
        raise TrainingError(
            f"{path}: there is nothing to mix", "name data.pairs, or data.instrumentals and data.vocals"
        )
