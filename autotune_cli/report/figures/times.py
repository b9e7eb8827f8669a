"""Times against the number of requests and against their length, on logarithmic axes, with the roofline."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Final

from autotune_cli.report.figures.look import LEGEND, SILENT, Figure, Spec, category, frame, points, tip
from autotune_cli.report.model import ResultPart, WorkloadPart

_LOOKS: Final = {"winner": ("var(--better)", "circle"), "baseline": ("var(--worse)", "diamond")}
_TIMED: Final = [{"filter": "datum.series != 'floor'"}]
_FLOOR: Final = [{"filter": "datum.series == 'floor'"}]
_NUMBER: Final = "datum.value < 1 ? format(datum.value, '.2~f') : format(datum.value, ',')"
# As shares of the axes: how wide a character and how high a line of a name is in a figure of 450 pixels, where names of
# points that are nearer would be on each other; and where names would leave the figure on one side.
_WIDTH, _HEIGHT = 7 / 450, 0.06
_AT_THE_LEFT, _AT_THE_RIGHT = 0.25, 0.75
# Pixels from a point to its name.
_ABOVE, _BELOW = -12, 18


def time_figures(result: ResultPart) -> dict[str, list[Figure]]:
    """By operation and mode, two views: against the length, and against the number of requests."""
    groups: dict[str, list[WorkloadPart]] = {}
    for part in result.workloads:
        if part.times and len(part.sizes) > 1:
            groups.setdefault(f"{part.title}, {part.mode}", []).append(part)
    found = {}
    for number, (name, parts) in enumerate(groups.items()):
        words = [_plain(word) for word, _ in parts[0].sizes]
        found[name] = [
            Figure(f"{result.id}-time{number}-{axis}", words[axis], _spec(parts, axis, name, words)) for axis in (1, 0)
        ]
    return found


def _spec(parts: Sequence[WorkloadPart], axis: int, name: str, words: Sequence[str]) -> Spec:
    """``axis``: 0, the number of requests, or 1, their length. What else differs tells the lines apart."""
    rows = _rows(parts, axis, words)
    spec = frame(300, f"Time of {name} against {words[axis]}, both on logarithmic axes", rows)
    place = {
        "x": {
            "field": "x",
            "type": "quantitative",
            "scale": {"type": "log", "base": 2, "nice": False, "padding": 24},
            "axis": {
                "title": words[axis],
                "values": sorted({row["x"] for row in rows}),
                "labelExpr": _NUMBER,
                "labelOverlap": "greedy",
                "grid": False,
            },
        },
        "y": {
            "field": "us",
            "type": "quantitative",
            "scale": {"type": "log", "nice": False, "padding": 20},
            "axis": {"title": "time, us", "labelExpr": _NUMBER, "values": _ticks([row["us"] for row in rows])},
        },
        "detail": [{"field": "line"}, {"field": "series"}],
    }
    there = {row["series"] for row in rows}
    spec["layer"] = [*(_roofline(place) if "floor" in there else []), *_measured(place, there), _names(place)]
    return spec


def _rows(parts: Sequence[WorkloadPart], axis: int, words: Sequence[str]) -> list[Spec]:
    varying = [
        number for number in range(len(words)) if number != axis and len({part.sizes[number] for part in parts}) > 1
    ]
    rows: list[Spec] = []
    for part in parts:
        line = ", ".join(f"{words[each]} {part.sizes[each][1]:,}" for each in varying)
        for point in part.times:
            low, high = point.interval or (point.us, point.us)
            shape = {"w": part.id, "name": part.name, "line": line, "x": part.sizes[axis][1]}
            rows.append({**shape, "series": point.series, "us": point.us, "low": low, "high": high})
    _name_ends(rows)
    return rows


def _name_ends(rows: Sequence[Spec]) -> None:
    """Have the last point of each line bear its name, on the side where there is room."""
    ends = []
    for line in sorted({row["line"] for row in rows} - {""}):
        timed = [row for row in rows if row["line"] == line and row["series"] != "floor"]
        if timed:
            ends.append(max(timed, key=lambda row: (row["x"], row["us"])))
    ends.sort(key=lambda row: (row["x"], row["us"]))
    across, up = _scale([row["x"] for row in rows]), _scale([row["us"] for row in rows])
    for number, row in enumerate(ends):
        x, y = across(row["x"]), up(row["us"])
        row |= {"align": "left" if x < _AT_THE_LEFT else "right", "dy": _ABOVE}
        for other in ends[:number]:
            room = _WIDTH * len(row["line"])
            beside = x - across(other["x"]) < room and abs(y - up(other["us"])) < _HEIGHT
            if beside and other["align"] == row["align"] and other["dy"] == _ABOVE:
                if row["align"] == "right" and x < _AT_THE_RIGHT:
                    row["align"] = "left"
                else:
                    # Of two at one place the lower one comes first.
                    other["dy"] = _BELOW


def _scale(values: Sequence[float]) -> Callable[[float], float]:
    """Where a value is on a logarithmic axis from the least to the largest: 0 to 1."""
    low, high = math.log(min(values)), math.log(max(values))
    return lambda value: (math.log(value) - low) / ((high - low) or 1.0)


def _roofline(place: Spec) -> list[Spec]:
    dash = {
        "datum": "roofline",
        "type": "nominal",
        "scale": {"domain": ["roofline"], "range": [[5, 4]]},
        "legend": {
            **LEGEND, "orient": "top", "symbolType": "stroke", "symbolStrokeColor": "var(--text)", "symbolSize": 300,
        },
    }  # fmt: skip
    tips = [tip("name", "workload"), tip("us", "roofline, us", ",.4~r")]
    return [
        {
            "mark": {"type": "line", "color": "var(--text)", "strokeWidth": 1.2, "opacity": 0.8, **SILENT},
            "encoding": {**place, "strokeDash": dash},
            "transform": _FLOOR,
        },
        {
            "mark": points(90, tips, filled=False, shape="stroke", color="var(--text)"),
            "encoding": {**place, "tooltip": tips},
            "transform": _FLOOR,
        },
    ]


def _measured(place: Spec, there: Collection[str]) -> list[Spec]:
    looks = {series: look for series, look in _LOOKS.items() if series in there}
    colour, shape = category("series", looks, {"orient": "top"})
    tips = [tip("name", "workload"), tip("series", "of")]
    tips += [tip(each, word, ",.4~r") for each, word in (("us", "time, us"), ("low", "from"), ("high", "to"))]
    interval = {"x": place["x"], "y": {**place["y"], "field": "low"}, "y2": {"field": "high"}, "color": colour}
    return [
        {
            "mark": {"type": "line", "strokeWidth": 1.5, "opacity": 0.6, **SILENT},
            "encoding": {**place, "color": colour},
            "transform": _TIMED,
        },
        {"mark": {"type": "rule", "strokeWidth": 3, **SILENT}, "encoding": interval, "transform": _TIMED},
        {
            "mark": points(60, tips),
            "encoding": {**place, "color": colour, "shape": shape, "tooltip": tips},
            "transform": _TIMED,
        },
    ]


def _names(place: Spec) -> Spec:
    return {
        "mark": {"type": "text", "align": {"expr": "datum.align"}, "dy": {"expr": "datum.dy"}, **SILENT},
        "encoding": {"x": place["x"], "y": place["y"], "text": {"field": "line"}},
        "transform": [{"filter": "isValid(datum.align)"}],
    }


def _ticks(times: Sequence[float]) -> list[float]:
    """Some steps of each power of ten between the least and the largest, fewer where there are many powers."""
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))
    decades = math.log10(max(times) / min(times))
    steps = (
        (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
        if decades < 1
        else (1.0, 2.0, 5.0)
        if decades < 3
        else (1.0,)
    )
    return [step * 10.0**power for power in range(low, high + 1) for step in steps]


def _plain(word: str) -> str:
    return "batch" if word == "batch_size" else word.replace("_", " ")
