"""The page of a report: the template with pictures, charts, players and tables put in."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frametx import __version__
from frametx.clock import clock_text, parse_clock
from frametx.disagreement import disputed_ranges
from frametx.provenance import is_of_a_part
from frametx.report_pictures import RANGE_DB, as_data_uri, mel_place, spectrograms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from frametx.disagreement import Profile
    from frametx.report_figures import Figures

_TEMPLATE = Path(__file__).with_name("report.html")
_LOWEST_DB = -70.0
_NAMES = {"mix": "Song", "instrumental": "Instrumental", "vocals": "Vocals", "mask": "Mask"}
_CHART = (1000.0, 100.0)  # width and height of charts, in their own units


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a page shows.

    Attributes:
        title: Its heading.
        values: Everything that it says in words; see `frametx.report`.
        figures: The measurements.
        profile: Where models disagree, if that was measured.
        audio: What the players play, by track; without the song, its track is missing.
    """

    title: str
    values: Mapping[str, Any]
    figures: Figures
    profile: Profile | None
    audio: Mapping[str, str]


def render_page(page: Page) -> str:
    """The page as HTML that needs nothing but itself, and linked sound where that was too long to hold."""
    values, figures = page.values, page.figures
    parts = {
        "VERSION": __version__,
        "TITLE": html.escape(page.title),
        "LEAD": html.escape(_lead(values)),
        "LENGTH": clock_text(figures.seconds, 0),
        "SECONDS": f"{figures.seconds:.3f}",
        "RANGE": f"{RANGE_DB:.0f}",
        "PLAYERS": "".join(_player(track, page.audio) for track in page.audio),
        "CHOICES": "".join(_choice(number, track) for number, track in enumerate(page.audio, 1)),
        "REDONE_HINT": "Yellow marks were redone." if values["sections"] else "",
        "LEVELS": _levels(page),
        "DISAGREEMENT": "" if page.profile is None else _disagreement(page.profile, figures.seconds),
        "PICTURES": "".join(_pictures(figures, scale) for scale in ("mel", "linear")),
        "FACTS": _facts(values),
        "ORIGIN": _origin(values),
        "SECTIONS": _sections(values["sections"]),
    }
    text = _TEMPLATE.read_text("utf-8")
    pieces = text.split("@@")  # names stand at the odd places; what is put in is never looked at again
    return "".join(parts[piece] if index % 2 else piece for index, piece in enumerate(pieces))


def _lead(values: Mapping[str, Any]) -> str:
    kind = {1: "mono", 2: "stereo"}[values["channels"]]
    depth = f", {values['bit_depth']} bit" if values["bit_depth"] else ""
    names = ", ".join(model["name"] for model in values["models"])
    by = f" - separated by {names}" if names else ""
    n_redone = len(values["sections"])
    redone = f", {n_redone} section{'s' if n_redone > 1 else ''} redone" if n_redone else ""
    return f"{clock_text(values['seconds'], 0)}, {kind}, {values['sample_rate'] / 1000:g} kHz{depth}{by}{redone}"


def _player(track: str, audio: Mapping[str, str]) -> str:
    muted = "" if track == next(iter(audio)) else " muted"
    return f'<audio data-track="{track}" preload="auto"{muted} src="{html.escape(audio[track])}"></audio>\n'


def _choice(number: int, track: str) -> str:
    checked, tab = ("true", "0") if number == 1 else ("false", "-1")
    return (
        f'<button type="button" role="radio" data-track="{track}" aria-checked="{checked}" tabindex="{tab}">'
        f"{_NAMES[track]}<kbd>{number}</kbd></button>"
    )


def _lane(name: str, inside: str, marks: Mapping[str, float], *, kind: str = "", style: str = "") -> str:
    """One row with a scale at its left; marks say how far up, 0..1."""
    scale = "".join(
        f'<span style="bottom:{100 * place:.1f}%">{html.escape(text)}</span>' for text, place in marks.items()
    )
    return (
        f'<div class="lane {kind}"><div class="name">{name}</div><div class="scale">{scale}</div>'
        f'<div class="time {style}">{inside}<div class="head"></div></div></div>\n'
    )


def _axis(seconds: float) -> str:
    marks = "".join(f"<span>{clock_text(seconds * part / 4, 0)}</span>" for part in range(5))
    return f'<div class="lane"><div class="axis">{marks}</div></div>\n'


def _levels(page: Page) -> str:
    levels, seconds = page.figures.levels_db, page.figures.seconds
    redone = [
        (parse_clock(str(one["from"])) or 0.0, parse_clock(str(one["to"])) or 0.0) for one in page.values["sections"]
    ]
    bars = "".join(
        f'<rect x="{start / seconds * 1000:.1f}" y="0" width="{max(1.5, (stop - start) / seconds * 1000):.1f}" '
        'height="100" fill="var(--redone)" opacity="0.28"/>'
        for start, stop in redone
    )
    inside = (
        f"{bars}{_area(levels['vocals'], 'var(--vocals)')}"
        f'<polyline points="{_points(levels["mix"])}" fill="none" stroke="var(--mix)" stroke-width="1.2" '
        'vector-effect="non-scaling-stroke"/>'
    )
    chart = _svg(inside, "Level of the vocals and of the song along the song")
    marks = {f"{level:.0f}": 1 - level / _LOWEST_DB for level in (-20.0, -40.0, -60.0)}
    return _lane("<b>Level</b>", chart, marks, style="light") + _axis(seconds)


def _disagreement(profile: Profile, seconds: float) -> str:
    level = profile.level_db
    end = profile.start_seconds + len(level) * profile.frame_seconds
    edges = (profile.start_seconds / seconds, min(1.0, end / seconds))
    chart = _svg(_area(level, "var(--dispute)", edges), "How much the models disagree along the song")
    marks = {f"{mark:.0f}": 1 - mark / _LOWEST_DB for mark in (-20.0, -40.0, -60.0)}
    heads = "".join(f'<th class="number">{html.escape(name)}</th>' for name in profile.models)
    rows = "".join(
        f'<tr><td><button type="button" class="jump" data-jump="{one.start_seconds}">{clock_text(one.start_seconds)} - '
        f'{clock_text(one.end_seconds)}</button></td><td class="number">{one.level_db:.1f}</td>'
        + "".join(f'<td class="number">{one.vocals_db[name]:.1f}</td>' for name in profile.models)
        + "</tr>"
        for one in disputed_ranges(profile, limit=8)
    )
    table = (
        '<div class="scroll"><table><thead><tr><th>Where models disagree most</th><th class="number">dB</th>'
        f"{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
    names = html.escape(", ".join(profile.models))
    note = (
        '<p class="hint">Below each model: the level of the vocals it hears. All relative to the song&#39;s mean.</p>'
    )
    return (
        _lane(f"<b>Disagreement</b> of {names}", chart, marks, style="light")
        + f'<div style="height:14px"></div>{table}{note}'
    )


def _pictures(figures: Figures, scale: str) -> str:
    top = figures.sample_rate / 2000
    lanes = []
    for track, values in spectrograms(figures, scale).items():
        kind = "mask" if track == "mask" else "power"
        name = f"<b>{_NAMES[track]}</b>" + (", the instrumental's share: bright is kept" if track == "mask" else "")
        image = f'<img alt="{_NAMES[track]}, {scale} spectrogram" src="{as_data_uri(values, kind)}" draggable="false">'
        if scale == "mel":
            marks = {f"{mark:g} k": mel_place(mark * 1000, figures.sample_rate) for mark in (0.5, 2, 8) if mark < top}
        else:
            marks = {f"{mark:g} k": mark / top for mark in (5, 10, 15, 20) if mark < top}
        lanes.append(_lane(name, image, marks, kind=f"picture {scale}"))
    return "".join(lanes) + (_axis(figures.seconds) if scale == "linear" else "")


def _facts(values: Mapping[str, Any]) -> str:
    def fact(value: str, words: str, verdict: str = "") -> str:
        return f'<div class="fact"><b class="{verdict}">{html.escape(value)}</b><span>{html.escape(words)}</span></div>'

    residual, n_inexact = values["residual"], values["samples_not_exact"]
    if residual is None:
        is_part = is_of_a_part(values["parameters"])
        sums = fact(
            "unknown", f"residual: the {'stems are of a part of the song' if is_part else 'song is not at hand'}"
        )
    elif n_inexact == 0:
        sums = fact("exact", "the stems sum to the song, sample by sample", "good")
    else:
        level = 20 * np.log10(max(residual, 1e-12))
        rate = values["song_resampled_from"]
        where = "" if rate is None else f"; the song was resampled from {rate} Hz to compare"
        sums = fact(f"{level:.1f} dB", f"largest residual of the sum, {n_inexact} samples differ{where}", "bad")
    speed = values["times_real_time"]
    if speed:
        speeds = fact(f"{speed:g} x", f"real time: {clock_text(values['elapsed_seconds'], 1)} for the song")
    else:
        speeds = fact("unknown", "speed: not recorded with the stems")
    clipped = [
        fact(str(count), f"samples of the {stem} at full scale", "bad" if count else "good")
        for stem, count in values["samples_at_full_scale"].items()
    ]
    peaks = [
        fact(f"{20 * np.log10(max(peak, 1e-12)):.1f} dB", f"peak of the {'song' if track == 'mix' else track}")
        for track, peak in values["peaks"].items()
    ]
    return "".join([sums, *clipped, speeds, *peaks])


def _origin(values: Mapping[str, Any]) -> str:
    def row(name: str, value: str) -> str:
        return f"<tr><th>{html.escape(name)}</th><td>{value}</td></tr>"

    rows = [
        row(f"model {model['name']}", f"<code>{html.escape(model['sha256'])}</code>") for model in values["models"]
    ] or [row("models", "not recorded in the stems")]
    rows += [
        row(name.replace("_", " "), f"<code>{html.escape(str(value))}</code>")
        for name, value in values["parameters"].items()
    ]
    if values["made_by"]:
        rows.append(row("separated by", f"frametx {html.escape(str(values['made_by']))}"))
    files = {"song": values["song"] or "not at hand", **values["stems"]}
    rows += [row(name, f"<code>{html.escape(path)}</code>") for name, path in files.items()]
    return "".join(rows)


def _sections(sections: list[dict[str, Any]]) -> str:
    if not sections:
        return ""
    rows = []
    for section in sections:
        names = ", ".join(section["models"]) or "the default model"
        digests = "<br>".join(
            f"<code>{html.escape(digest)}</code>" for digest in section.get("checkpoints", {}).values()
        )
        start = parse_clock(str(section["from"])) or 0.0
        rows.append(
            f'<tr><td><button type="button" class="jump" data-jump="{start}">{section["from"]} - {section["to"]}</button>'
            f"</td><td>{html.escape(names)}</td><td>{digests}</td></tr>"
        )
    head = "<thead><tr><th>Redone, in this order</th><th>models</th><th>SHA-256</th></tr></thead>"
    return (
        f'<div style="height:12px"></div><div class="scroll"><table>{head}<tbody>{"".join(rows)}</tbody></table></div>'
    )


def _svg(inside: str, label: str) -> str:
    width, height = _CHART
    lines = "".join(
        f'<line x1="0" x2="{width:g}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)" vector-effect="non-scaling-stroke"/>'
        for y in (level / _LOWEST_DB * height for level in (-20.0, -40.0, -60.0))
    )
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" preserveAspectRatio="none" role="img" '
        f'aria-label="{html.escape(label)}">{lines}{inside}</svg>'
    )


def _points(levels: NDArray[np.float64], edges: tuple[float, float] = (0.0, 1.0)) -> str:
    width, height = _CHART
    n_points = min(len(levels), int(width))
    # the loudest of the values that share a point
    first = np.arange(n_points) * len(levels) // n_points
    shown = np.maximum.reduceat(levels, first) if len(levels) else levels
    across = (edges[0] + (edges[1] - edges[0]) * (np.arange(n_points) + 0.5) / max(1, n_points)) * width
    down = np.clip(shown / _LOWEST_DB, 0.0, 1.0) * height
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))


def _area(levels: NDArray[np.float64], colour: str, edges: tuple[float, float] = (0.0, 1.0)) -> str:
    width, height = _CHART
    left, right = edges[0] * width, edges[1] * width
    points = f"{left:.1f},{height:g} {_points(levels, edges)} {right:.1f},{height:g}"
    return f'<polygon points="{points}" fill="{colour}" opacity="0.85"/>'
