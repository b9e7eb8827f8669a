"""What all figures have in common: the frame, the font, the colours, tooltips; and intervals in rows. Sizes: pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Spec = dict[str, Any]
Looks = Mapping[str, tuple[str, str]]
"""Of each category the colour and the shape, in the order of the legend."""

SILENT: Final[Spec] = {"aria": False}
LEGEND: Final[Spec] = {"title": None, "labelLimit": 0}
_SCHEMA: Final = "https://vega.github.io/schema/vega-lite/v6.json"
_CONFIG: Final[Spec] = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": "transparent"},
    "axis": {
        "labelColor": "var(--text)",
        "titleColor": "var(--text)",
        "titleFontWeight": "normal",
        "gridColor": "var(--grid)",
        "domainColor": "var(--faint)",
        "tickColor": "var(--faint)",
        "labelFontSize": 12,
        "titleFontSize": 12,
    },
    "legend": {"labelColor": "var(--text)", "labelFontSize": 12, "symbolOpacity": 1},
    "text": {"fontSize": 12, "color": "var(--text)"},
}


@dataclass(frozen=True)
class Figure:
    """A figure, alone or one of several views that a reader chooses from."""

    id: str
    label: str
    """In the list to choose from; empty: there is nothing to choose."""
    spec: Spec


def frame(height: int, description: str, rows: Sequence[Spec] = (), step: int | None = None) -> Spec:
    """A specification without marks, as wide as its place on the page.

    Args:
        height: with ``step`` of no rows.
        description: for a screen reader.
        rows: what is drawn; the page replaces them where it filters.
        step: what each row adds to the height, which the page sets. (A height in steps of Vega-Lite's own goes with no
            width of the page's.)
    """
    return {
        **({} if step is None else {"usermeta": {"step": step}}),
        "$schema": _SCHEMA,
        "description": description,
        "width": "container",
        "height": height,
        "data": {"name": "rows", "values": list(rows)},
        "config": _CONFIG,
    }


def tip(name: str, title: str, number: str | None = None) -> Spec:
    """A line of a tooltip; ``number``: a number in that format of D3's."""
    return {
        "field": name,
        "title": title,
        **({"type": "quantitative", "format": number} if number else {"type": "nominal"}),
    }


def points(size: int, tips: Sequence[Spec], **changes: Any) -> Spec:
    """The mark of points, of which a screen reader is told what the tooltip shows. Lines and intervals are
    :data:`SILENT`: they would say the same again.
    """
    said = " + '; ' + ".join(f"'{each['title']}: ' + {_value(each)}" for each in tips)
    mark: Spec = {"type": "point", "filled": True, "size": size, "opacity": 1, "description": {"expr": said}}
    return mark | changes


def _value(tip: Spec) -> str:
    field = f"datum['{tip['field']}']"
    return f"format({field}, '{tip['format']}')" if "format" in tip else field


def category(field: str, looks: Looks, legend: Spec) -> tuple[Spec, Spec]:
    """The colour and the shape of a category; their legends become one."""
    key = {"field": field, "type": "nominal", "legend": {**LEGEND, **legend}}
    scales = ({"domain": list(looks), "range": [look[each] for look in looks.values()]} for each in (0, 1))
    colour, shape = ({**key, "scale": scale} for scale in scales)
    return colour, shape


def interval_layers(
    value: str, what: str, looks: Looks, unchanged: float, title: str, scale: Spec, tips: Sequence[Spec]
) -> list[Spec]:
    """A row each: the point ``value`` and its interval from ``low`` to ``high``; and a line where nothing changed.

    Args:
        what: the field of the category, which ``looks`` has.
        unchanged: where the line is.
    """
    colour, shape = category(what, looks, {"orient": "top"})
    x = {"field": value, "type": "quantitative", "scale": scale, "title": title, "axis": {"labelOverlap": True}}
    measured = [{"filter": f"isValid(datum.{value})"}]
    return [
        {
            "mark": {"type": "rule", "color": "var(--text)", "strokeDash": [4, 3], **SILENT},
            "encoding": {"x": {"datum": unchanged, "type": "quantitative"}},
        },
        {
            "mark": {"type": "rule", "strokeWidth": 2, **SILENT},
            "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "y": row_names(), "color": colour},
            "transform": measured,
        },
        {
            "mark": points(70, tips),
            "encoding": {"x": x, "y": row_names(), "color": colour, "shape": shape, "tooltip": list(tips)},
            "transform": measured,
        },
    ]


def row_names() -> Spec:
    """The rows by their names, in the order of the data."""
    return {"field": "name", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 0, "grid": True}}
