"""The page as HTML: one file that fetches nothing and runs no script but its own.

Texts of others reach it in two ways: through the template, which escapes each, and as JSON in an element that is no
script, in which ``<``, ``>`` and ``&`` are escaped too. A content security policy names the hashes of the page's own
scripts and style and forbids everything else, so that markup which came through all the same would do nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from autotune_cli.render.lengths import LENGTH_COLUMNS
from autotune_cli.render.text import microseconds
from autotune_cli.report.figures.change import change_figure
from autotune_cli.report.figures.gains import gain_figures
from autotune_cli.report.figures.history import history_specs
from autotune_cli.report.figures.plan import plan_figures
from autotune_cli.report.figures.times import time_figures
from autotune_cli.report.model import History, ReportPage

if TYPE_CHECKING:
    import jinja2

_FOLDER = "assets"


def page_html(page: ReportPage, plotting: str) -> str:
    """The whole document.

    Args:
        plotting: the plotting library's script, see :func:`autotune_cli.report.plotting.plotting_script`.
    """
    style, script = _asset("report.css"), _asset("report.js")
    changes = None if page.changes is None else change_figure(page.changes)
    gains = {result.id: gain_figures(result) for result in page.results}
    times = {result.id: time_figures(result) for result in page.results}
    plans = {result.id: plan_figures(result) for result in page.results}
    figures = [*([changes] if changes else []), *(each for found in gains.values() for each in found)]
    figures += [each for found in plans.values() for each in found]
    figures += [each for found in times.values() for views in found.values() for each in views]
    data = {
        "figures": {figure.id: figure.spec for figure in figures},
        "history": {"with clock": history_specs(True), "without": history_specs(False)},
        "rounds": {
            part.id: _rounds(part.history) for result in page.results for part in result.workloads if part.history
        },
    }
    return _template().render(
        page=page,
        change_figure=changes,
        gains=gains,
        times=times,
        plans=plans,
        operations=_distinct(part.operation for result in page.results for part in result.workloads),
        statuses=_distinct(status for result in page.results for part in result.workloads for status in part.statuses),
        verdicts=_distinct(row.word for row in page.changes.rows) if page.changes else [],
        length_columns=LENGTH_COLUMNS,
        style=_raw(style),
        script=_raw(script),
        plotting=_raw(plotting),
        licenses=_asset("licenses.txt"),
        data=_raw(json_in_html(data)),
        policy=_policy([plotting, script], style),
    )


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["microseconds"] = microseconds
    return environment.get_template("page.html")


def json_in_html(document: Any) -> str:
    """JSON for ``<script type="application/json">``: whatever its texts are, it ends no element and begins no comment.

    All beyond ASCII is escaped, and with it what JavaScript or an editor would take for the end of a line.
    """
    text = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _rounds(history: History) -> dict[str, Any]:
    """What the page draws of a workload's rounds."""
    clocks = [
        None if clock is None or clock.mhz is None else [clock.mhz, clock.throttled, clock.dropped]
        for clock in history.clocks
    ]
    return {
        "rounds": history.rounds,
        "series": [
            {"label": label, "status": series.status, "us": series.us}
            for label, series in zip(_labels(history), history.series, strict=True)
        ],
        "clocks": clocks if history.has_clocks else None,
    }


def _labels(history: History) -> list[str]:
    """The candidates with what each is, and a number where two are called alike: a line is drawn for each label."""
    seen: Counter[str] = Counter()
    found = []
    for series in history.series:
        label = f"{series.label} ({series.role})" if series.role else series.label
        seen[label] += 1
        found.append(label if seen[label] == 1 else f"{label} #{seen[label]}")
    return found


def _distinct(texts: Any) -> list[str]:
    return sorted(set(texts))


def _policy(scripts: list[str], style: str) -> str:
    """A content security policy (https://www.w3.org/TR/CSP3/): these scripts, this style, and nothing from anywhere."""
    allowed = " ".join(map(_hash, scripts))
    return f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _raw(text: str) -> Any:
    """A text of this program's own, which the template doesn't escape."""
    import markupsafe

    return markupsafe.Markup(text)


def _asset(name: str) -> str:
    return resources.files("autotune_cli.report").joinpath(_FOLDER, name).read_text(encoding="utf-8")
