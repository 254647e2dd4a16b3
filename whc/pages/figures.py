"""Interactive figures as plotly.js takes them: plain dictionaries, without plotly's Python.

Colours must be seen on a light and on a dark page; those of axes and text are set by page.js.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

LADDER_COLOUR, CANDIDATE_COLOUR, TRIAL_COLOUR, STOPPED_COLOUR = "#2f86d6", "#e0731d", "#8b929b", "#b59a5b"
CHOSEN_COLOUR = "#d6336c"
LADDER_COLOURS = (LADDER_COLOUR, "#3aa35a", "#b05fc4", "#c9a227")
SERIES_COLOURS = (LADDER_COLOUR, CANDIDATE_COLOUR, "#3aa35a", "#b05fc4", "#c9a227", "#d6336c", "#4bb3b3")
MIN_TICKS, MAX_TICKS = 4, 9
MAX_CATEGORIES_NAMED = 12
AXIS_PIXELS = 105  # that an axis of parallel coordinates needs for its labels
_PLOTLY_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@dataclass(frozen=True)
class Figure:
    """A figure. `height` and `min_width` are in pixels; below `min_width` it scrolls. `role` is for page.js."""

    data: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    height: int = 340
    min_width: int = 0
    role: str = ""
    kind: ClassVar[str] = "figure"

    @property
    def spec(self) -> dict[str, Any]:
        """What plotly.js draws."""
        return {"data": list(self.data), "layout": dict(self.layout)}


@dataclass(frozen=True)
class Dot:
    """A trial in a figure: latency in ms and value, with the words of its hover; errors are distances down and up."""

    trial_id: str
    x: float
    y: float
    words: str
    x_error: tuple[float, float] = (0.0, 0.0)
    y_error: tuple[float, float] = (0.0, 0.0)
    label: str = ""


@dataclass(frozen=True)
class Dots:
    """Trials of one kind. `symbol` is one of plotly's; `is_line` joins them as steps."""

    name: str
    dots: Sequence[Dot]
    colour: str
    symbol: str = "circle"
    size: int = 8
    is_line: bool = False


@dataclass(frozen=True)
class Steps:
    """A value that changes in steps over an axis."""

    x: Sequence[float]
    y: Sequence[float]
    x_title: str
    y_title: str
    words: Sequence[str] = field(default_factory=list)


def plain(text: str) -> str:
    """Text for a figure: plotly would read markup in it, such as links."""
    return text.translate(_PLOTLY_MARKUP)


def front(groups: Sequence[Dots], y_title: str, fitted: Sequence[Dot], is_less_better: bool) -> Figure:
    """Trials by latency (log) and value, with axes that show `fitted`; the rest is seen after a double click."""
    traces = [_dots_trace(group) for group in groups if group.dots]
    marker = {"symbol": "circle-open", "size": 17, "color": CHOSEN_COLOUR, "line": {"width": 2}}
    chosen = {"x": [], "y": [], "mode": "markers", "marker": marker, "hoverinfo": "skip", "showlegend": False}
    x_axis: dict[str, Any] = {"type": "log", "title": {"text": "latency of one forward pass, ms"}}
    y_axis: dict[str, Any] = {"title": {"text": plain(y_title)}}
    if fitted:
        ends = [dot.x + step for dot in fitted for step in (-dot.x_error[0], dot.x_error[1])]
        low, high = _padded([math.log10(end) for end in ends if end > 0], 0.06)
        ticks = _log_ticks(10**low, 10**high)
        x_axis |= {"range": [low, high], "tickvals": ticks, "ticktext": [f"{ms:g}" for ms in ticks]}
        bottom, top = _padded([dot.y + step for dot in fitted for step in (-dot.y_error[0], dot.y_error[1])], 0.12)
        y_axis["range"] = [top, bottom] if is_less_better else [bottom, top]
    elif is_less_better:
        y_axis["autorange"] = "reversed"
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12}}
    layout = {"xaxis": x_axis, "yaxis": y_axis, "legend": legend, "hovermode": "closest", "margin": {"r": 20}}
    return Figure([*traces, chosen], layout, 520, role="front")


def _padded(values: Sequence[float], share: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = share * (high - low) or 0.05
    return low - pad, high + pad


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers within a range, few enough to be read side by side; more beyond it, for who zooms out."""
    exponents = range(math.floor(math.log10(low)) - 2, math.ceil(math.log10(high)) + 2)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(range(1, 10))):
        ticks = [float(f"{digit}e{exponent}") for exponent in exponents for digit in digits]
        if sum(low <= tick <= high for tick in ticks) >= MIN_TICKS:
            return ticks
    step = float(f"{(high - low) / MIN_TICKS:.0e}")
    inside = [round(math.floor(low / step) * step + i * step, 9) for i in range(MAX_TICKS)]
    return [tick for tick in inside if low <= tick <= high]


def _dots_trace(group: Dots) -> dict[str, Any]:
    dots = group.dots
    trace: dict[str, Any] = {
        "x": [_short(dot.x) for dot in dots],
        "y": [_short(dot.y) for dot in dots],
        "text": [plain(dot.words).replace("\n", "<br>") for dot in dots],
        "customdata": [dot.trial_id for dot in dots],
        "hovertemplate": "%{text}<extra></extra>",
        "name": f"{group.name} ({len(dots)})",
        "mode": "lines+markers" if group.is_line else "markers",
        "marker": {"color": group.colour, "size": group.size, "symbol": group.symbol},
    }
    if group.is_line:
        trace["line"] = {"shape": "hv", "color": group.colour, "width": 1.5}
    for axis, errors in (("x", [dot.x_error for dot in dots]), ("y", [dot.y_error for dot in dots])):
        if any(map(any, errors)):
            down, up = [error[0] for error in errors], [error[1] for error in errors]
            bars = {"type": "data", "symmetric": False, "array": up, "arrayminus": down}
            trace[f"error_{axis}"] = {**bars, "color": group.colour, "thickness": 1.2, "width": 4}
    if any(dot.label for dot in dots):
        labels = [plain(dot.label) for dot in dots]
        # Labels are their own text; the words of the hover move to another field.
        trace |= {"hovertext": trace["text"], "text": labels, "hovertemplate": "%{hovertext}<extra></extra>"}
        trace |= {"mode": f"{trace['mode']}+text", "textposition": "top left", "textfont": {"size": 14}}
    return trace


def steps(shown: Steps, height: int = 280) -> Figure:
    """A line in steps, such as the best value over time."""
    trace: dict[str, Any] = {"x": list(shown.x), "y": list(shown.y), "mode": "lines"}
    trace["line"] = {"shape": "hv", "color": LADDER_COLOUR}
    if shown.words:
        trace |= {"text": [plain(text) for text in shown.words], "hovertemplate": "%{text}<extra></extra>"}
    axes = {
        "xaxis": {"title": {"text": shown.x_title}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": plain(shown.y_title)}},
    }
    return Figure([trace], axes, height)


def curves(named: Mapping[str, Sequence[tuple[float, float]]], y_title: str) -> Figure:
    """Learning curves: a line for each name, over epochs."""
    traces = [
        {
            "x": [epoch for epoch, _ in points],
            "y": [_short(value) for _, value in points],
            "name": plain(name),
            "mode": "lines",
            "line": {"color": SERIES_COLOURS[number % len(SERIES_COLOURS)], "width": 1.8},
        }
        for number, (name, points) in enumerate(named.items())
    ]
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    layout = {"xaxis": {"title": {"text": "epoch"}}, "yaxis": {"title": {"text": plain(y_title)}}}
    return Figure(traces, {**layout, "legend": legend, "showlegend": True}, 280)


def shares(named: Mapping[str, tuple[float, float]], x_title: str) -> Figure:
    """Horizontal bars of shares with their deviations, in the order given from above."""
    values = [share for share, _ in named.values()]
    errors = {"type": "data", "array": [deviation for _, deviation in named.values()], "color": TRIAL_COLOUR}
    trace = {
        "type": "bar",
        "orientation": "h",
        "x": [_short(share) for share in values],
        "y": [plain(name) for name in named],
        "error_x": {**errors, "thickness": 1.2, "width": 3},
        "marker": {"color": LADDER_COLOUR},
        "hovertemplate": "%{y}: %{x:.2f}<extra></extra>",
    }
    axes = {
        "xaxis": {"title": {"text": plain(x_title)}, "rangemode": "nonnegative"},
        "yaxis": {"autorange": "reversed", "type": "category", "ticksuffix": " "},
    }
    return Figure([trace], axes, 110 + 26 * len(values))


@dataclass(frozen=True)
class Axis:
    """An axis of parallel coordinates: a value for each line, None where a line has none. Text is a category."""

    title: str
    values: Sequence[float | str | None]
    is_log: bool = False


@dataclass(frozen=True)
class LineGroup:
    """Lines of parallel coordinates of one colour: their places in each axis's values."""

    name: str
    places: Sequence[int]
    colour: str
    opacity: float


def parallel(axes: Sequence[Axis], groups: Sequence[LineGroup], trial_ids: Sequence[str]) -> Figure:
    """Parallel coordinates: a line for each trial across all axes, drawn as SVG, as WebGL is not everywhere."""
    placed = [_placed(axis) for axis in axes]
    traces = [_lines(group, axes, placed, trial_ids) for group in groups if group.places]
    texts = [
        {
            "x": number,
            "y": height,
            "text": plain(_cut(text)),
            "showarrow": False,
            "xanchor": "right" if number == len(axes) - 1 else "left",
            "xshift": -5 if number == len(axes) - 1 else 5,
            "font": {"size": 11},
            "opacity": 0.85,
        }
        for number, (_, labels) in enumerate(placed)
        for height, text in labels
    ]
    rods = [
        {"type": "line", "x0": i, "x1": i, "y0": 0, "y1": 1, "line": {"color": TRIAL_COLOUR, "width": 1}}
        for i in range(len(axes))
    ]
    names = [plain(_cut(axis.title, 22)) for axis in axes]
    x_axis = {"tickvals": list(range(len(axes))), "ticktext": names, "range": [-0.15, len(axes) - 0.85], "side": "top"}
    x_axis |= {"showgrid": False, "zeroline": False, "tickangle": 0, "fixedrange": True, "tickfont": {"size": 12}}
    x_axis |= {"ticklabeloverflow": "allow", "automargin": False}
    y_axis = {"visible": False, "range": [-0.06, 1.04], "fixedrange": True}
    legend = {"orientation": "h", "x": 0, "y": -0.02, "yanchor": "top"}
    layout: dict[str, Any] = {"xaxis": x_axis, "yaxis": y_axis, "annotations": texts, "shapes": rods, "legend": legend}
    layout |= {"hovermode": "closest", "showlegend": True, "margin": {"t": 40, "l": 60, "r": 60}}
    return Figure(traces, layout, 470, AXIS_PIXELS * len(axes))


def _placed(axis: Axis) -> tuple[list[float | None], list[tuple[float, str]]]:
    """The height 0..1 of each value, and the labels of the axis with their heights."""
    present = [value for value in axis.values if value is not None]
    if any(isinstance(value, str) for value in present):
        names = sorted({str(value) for value in present})
        at = {name: (i + 0.5) / len(names) for i, name in enumerate(names)}
        every = max(1, math.ceil(len(names) / MAX_CATEGORIES_NAMED))
        heights = [None if value is None else at[str(value)] for value in axis.values]
        return heights, [(at[name], name) for name in names[::every]]
    numbers = [float(value) for value in present]
    is_log = axis.is_log and min(numbers, default=1.0) > 0
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)

    def scaled(value: float) -> float:
        if low == high:
            return 0.5
        if is_log:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    middle = math.sqrt(low * high) if is_log else (low + high) / 2
    ends = [low] if low == high else [low, high]
    few = sorted(set(numbers))
    named = few if len(few) <= 5 else [low, middle, high]
    if low == high:
        named = ends
    heights = [None if value is None else scaled(float(value)) for value in axis.values]
    return heights, [(scaled(value), f"{value:.3g}") for value in named]


def _lines(
    group: LineGroup,
    axes: Sequence[Axis],
    placed: Sequence[tuple[Sequence[float | None], Sequence[tuple[float, str]]]],
    trial_ids: Sequence[str],
) -> dict[str, Any]:
    """One trace for all lines of a group, with gaps between them."""
    x: list[int | None] = []
    y: list[float | None] = []
    words: list[str] = []
    ids: list[str] = []
    for place in group.places:
        for number, (axis, (heights, _)) in enumerate(zip(axes, placed, strict=True)):
            height, value = heights[place], axis.values[place]
            if height is None or value is None:
                continue  # the line goes on to the next axis that it has a value for
            shown = value if isinstance(value, str) else f"{value:.4g}"
            x.append(number)
            y.append(_short(height))
            words.append(plain(f"{trial_ids[place]}: {axis.title} {shown}"))
            ids.append(trial_ids[place])
        x.append(None)
        y.append(None)
        words.append("")
        ids.append("")
    return {
        "x": x,
        "y": y,
        "text": words,
        "customdata": ids,
        "hovertemplate": "%{text}<extra></extra>",
        "mode": "lines+markers",
        "name": f"{group.name} ({len(group.places)})",
        "opacity": group.opacity,
        "line": {"color": group.colour, "width": 1.4},
        "marker": {"size": 4, "color": group.colour},
    }


def _short(value: float) -> float:
    """A number with six digits, as pages are sent around."""
    return float(f"{value:.6g}")


def _cut(text: str, room: int = 18) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"
