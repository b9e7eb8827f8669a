"""The times of a workload's candidates round by round, and the SM clock beside them. The page fills in the rows."""

from __future__ import annotations

from typing import Final

from autotune_cli.report.figures.look import LEGEND, SILENT, Spec, category, frame, points, tip

_SHAPES: Final = (
    "circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left",
)  # fmt: skip
_COLOURS: Final = 6
# Space for the labels left of both panels, so that a round stands below itself.
_AXIS: Final = {"minExtent": 64, "maxExtent": 64}
_STATES: Final = {
    "as usual": ("var(--faint)", "circle"),
    "throttled": ("var(--worse)", "triangle-up"),
    "dropped": ("var(--warning)", "cross"),
}
_X: Final[Spec] = {
    "field": "round",
    "type": "quantitative",
    "scale": {"zero": False, "nice": False, "padding": 12},
    "axis": {"tickMinStep": 1, "format": "d", "grid": False, "title": "round"},
}


def history_specs(has_clocks: bool) -> list[Spec]:
    """The panel of the times (rows: ``label``, ``round``, ``us``), and where there are clocks that of the SM clock
    (``round``, ``mhz``, ``why``, ``state``).
    """
    return [_times(), *([_clock()] if has_clocks else [])]


def _times() -> Spec:
    legend = {**LEGEND, "orient": "bottom", "direction": "vertical", "columns": 1}
    key: Spec = {"field": "label", "type": "nominal", "sort": None, "legend": legend}
    # Where there are more candidates than colours and shapes, both begin again, out of step.
    colour = {**key, "scale": {"range": [f"var(--series-{each})" for each in range(1, _COLOURS + 1)]}}
    shape = {**key, "scale": {"range": list(_SHAPES)}}
    y = {"field": "us", "type": "quantitative", "scale": {"zero": False}, "axis": {"title": "time, us", **_AXIS}}
    tips = [tip("label", "candidate"), tip("round", "round"), tip("us", "time, us", ",.4~r")]
    spec = frame(260, "Time of each candidate in each round")
    spec["encoding"] = {"x": _X, "y": y, "color": colour}
    spec["layer"] = [
        {"mark": {"type": "line", "opacity": 0.7, "strokeWidth": 1.5, **SILENT}},
        {
            "mark": points(55, tips),
            "encoding": {"shape": shape, "tooltip": tips},
        },
    ]
    return spec


def _clock() -> Spec:
    colour, shape = category("state", _STATES, {"orient": "bottom"})
    scale, axis = {"zero": False, "padding": 8}, {"title": "SM clock, MHz", "tickCount": 4, **_AXIS}
    tips = [tip("round", "round"), tip("mhz", "SM clock, MHz", ".0f"), tip("state", "state"), tip("why", "because of")]
    spec = frame(110, "SM clock in each round")
    spec["encoding"] = {"x": _X, "y": {"field": "mhz", "type": "quantitative", "scale": scale, "axis": axis}}
    spec["layer"] = [
        {"mark": {"type": "line", "color": "var(--faint)", "strokeWidth": 1.5, **SILENT}},
        {
            "mark": points(55, tips),
            "encoding": {"color": colour, "shape": shape, "tooltip": tips},
        },
    ]
    return spec
