"""Reads a training from its TOML file, with messages that name the key."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from frametx.errors import TrainingError, reason_of
from frametx.training.config import Source, TrainingConfig


def read_config(path: Path) -> TrainingConfig:
    """Read a training from a TOML file.

    Raises:
        TrainingError: It cannot be read, or says something that cannot be meant.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"the config {path} cannot be read: {reason_of(error)}") from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = "in double quotes \\ has a meaning of its own: write a path with /, or in single quotes"
        raise TrainingError(f"{path} is no TOML: {error}", hint if "\\" in text else None) from error
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
        # TOML has no word for nothing
        return None if value is False else _value(get_args(hint)[0], value, where, path)
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
    if not isinstance(value, expected) or (hint is int and isinstance(value, bool)):
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
    for name, value, (accepts, wanted) in _limits(config):
        if not accepts(value):
            raise TrainingError(f"{path}: {name} = {value} {wanted}")
    mixing = config.mixing
    if mixing.no_vocals + mixing.only_vocals > 1:
        raise TrainingError(
            f"{path}: mixing.no_vocals and mixing.only_vocals are shares of the same songs, but sum to more than 1"
        )
    if config.augment.codec and not config.augment.effects:
        raise TrainingError(
            f"{path}: augment.codec = {config.augment.codec} is of no use without augment.effects",
            "set effects = true, or leave codec out",
        )
    if not any(_terms(config).values()):
        raise TrainingError(f"{path}: every loss has the weight 0", f"give one a weight: {', '.join(_terms(config))}")
    data = config.data
    if not data.pairs and not (data.instrumentals and data.vocals):
        raise TrainingError(
            f"{path}: there is nothing to mix", "name data.pairs, or data.instrumentals and data.vocals"
        )
    if bool(data.instrumentals) != bool(data.vocals):
        named, lacking = ("instrumentals", "vocals") if data.instrumentals else ("vocals", "instrumentals")
        raise TrainingError(f"{path}: data.{named} is of no use without data.{lacking}", "name both, or pairs alone")


Limit = tuple[Callable[[float], bool], str]
ONE: Limit = (lambda value: value >= 1, "should be at least 1")
ABOVE: Limit = (lambda value: 0 < value < math.inf, "should be above 0")
NOT_BELOW: Limit = (lambda value: value >= 0, "should not be below 0")
FINITE: Limit = (lambda value: 0 <= value < math.inf, "should be a number, not below 0")
LEVEL: Limit = (lambda value: -120 <= value <= 120, "is no level in dB")
DECIBELS: Limit = (lambda value: 0 <= value <= 120, "should be from 0 to 120")
SEMITONES: Limit = (lambda value: 0 <= value <= 24, "should be from 0 to 24")
SECOND: Limit = (lambda value: 1 <= value < math.inf, "should be a second or more")
SHARE: Limit = (lambda value: 0 <= value <= 1, "is a share, from 0 to 1")
DECAY: Limit = (lambda value: 0 <= value < 1, "should be from 0 to below 1")


def _limits(config: TrainingConfig) -> Iterator[tuple[str, float, Limit]]:
    """Yield keys, their values and what these must be; a comparison with what is no number fails."""
    for i, stage in enumerate(config.stages):
        yield from ((f"stages[{i}].{name}", getattr(stage, name), ONE) for name in ("steps", "frames", "batch"))
    for name in ("checkpoint_steps", "log_steps"):
        yield name, getattr(config, name), ONE
    if config.stop_after is not None:
        yield "stop_after", config.stop_after, ONE
    yield "seed", config.seed, NOT_BELOW
    yield "data.workers", config.data.workers, NOT_BELOW
    for source in (*config.data.instrumentals, *config.data.vocals, *config.data.pairs):
        yield f"the weight of {source.folder}", source.weight, FINITE
    yield from _named("mixing", config.mixing, SHARE, "true_pairs", "no_vocals", "only_vocals", "second_voice")
    yield from _named("mixing", config.mixing, LEVEL, "vocals_db")
    yield from _named("mixing", config.mixing, DECIBELS, "vocals_db_spread", "headroom_db")
    shares = ("speed", "swap", "width", "spread", "background", "narrow", "band_limit", "codec")
    yield from _named("augment", config.augment, SHARE, *shares)
    yield from _named("augment", config.augment, SEMITONES, "speed_semitones")
    yield from _named("augment", config.augment, DECIBELS, "equaliser_db")
    yield from _optimiser_limits(config)
    validation = config.validation
    yield from _named("validation", validation, NOT_BELOW, "every_steps")
    yield from _named("validation", validation, ONE, "windows_per_song")
    yield from _named("validation", validation, SECOND, "window_seconds")
    if validation.vocals_db is not None:
        yield from _named("validation", validation, LEVEL, "vocals_db")
    yield from _named("pretraining", config.pretraining, NOT_BELOW, "steps")
    yield from _named("pretraining", config.pretraining, LEVEL, "noise_db")
    yield from _named("adversary", config.adversary, FINITE, "weight", "start_step")
    yield from _named("adversary", config.adversary, ABOVE, "learning_rate")
    yield from _named("adversary", config.adversary, ONE, "channels")
    yield "loss.mel_bands", config.loss.mel_bands, ONE
    for name, value in _terms(config).items():
        yield name, value, NOT_BELOW


def _optimiser_limits(config: TrainingConfig) -> Iterator[tuple[str, float, Limit]]:
    optimiser = config.optimiser
    yield from _named("optimiser", optimiser, ABOVE, "learning_rate")
    yield from _named("optimiser", optimiser, ONE, "accumulate")
    yield from _named("optimiser", optimiser, NOT_BELOW, "warmup_steps", "weight_decay", "clip_norm")
    yield from _named("optimiser", optimiser, SHARE, "final_share")
    yield from _named("optimiser", optimiser, FINITE, "power")
    for name, value in (("ema", optimiser.ema), ("betas[0]", optimiser.betas[0]), ("betas[1]", optimiser.betas[1])):
        yield f"optimiser.{name}", value, DECAY


def _named(table: str, values: Any, limit: Limit, *names: str) -> Iterator[tuple[str, float, Limit]]:
    """Yield fields of a table that must be the same."""
    yield from ((f"{table}.{name}", getattr(values, name), limit) for name in names)


def _terms(config: TrainingConfig) -> dict[str, float]:
    return {f"loss.{f.name}": getattr(config.loss, f.name) for f in fields(config.loss) if f.name != "mel_bands"}
