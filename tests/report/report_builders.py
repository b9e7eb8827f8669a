"""Results to make pages of, and a page as a tree of elements."""

from __future__ import annotations

import html.parser
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "planning"))
sys.path.insert(0, str(Path(__file__).parents[1] / "render"))
import planning_runs
from render_builders import ENVIRONMENT, candidate, decode, extend, failed, result, run_file, topk, wrong

from autotune_cli.comparing.decisions import DecisionRule
from autotune_cli.comparing.loading import LoadedFile
from autotune_cli.comparing.report import compare
from autotune_cli.report.changes import changes_of
from autotune_cli.report.making import make_page
from autotune_cli.report.model import ReportPage
from autotune_cli.report.page import page_html
from autotune_cli.results.schema import Conditions, ConstraintCost, PropertyVerdict, RunFile

ROOT = Path(__file__).parents[2]
SESSIONS = sorted((ROOT / "tests" / "data" / "diff").glob("h200.*.json"))
# In the place of the plotting library, where nothing is drawn.
NO_PLOTTING = "/* nothing */"
# What must do nothing wherever it stands. Each would set window.taken, were it obeyed.
HOSTILE = {
    "script": "<script>window.taken=1</script>",
    "end of a script": "</script><script>window.taken=1</script>",
    "end in capitals": "</ScRiPt ><img src=x onerror=window.taken=1>",
    "comment": "<!--<script>window.taken=1//",
    "attribute": "\" autofocus onfocus=window.taken=1 x='",
    "quote": "' onmouseover='window.taken=1",
    "entity": "&lt;img src=x onerror=window.taken=1&gt;",
    "template": "{{ 7 * 7 }}{% raw %}${window.taken=1}",
    "address": "javascript:window.taken=1",
    "style": "</style><style>*{display:none}</style>",
    "expression": "datum.constructor.constructor('window.taken=1')()",
    "control": "\x1b[31m\x00\u202e\u2028\x85",
    "prototype": "__proto__",
}


def small_run(faster: float = 1.0, **changes: Any) -> RunFile:
    """Two decode steps, an extend and a selection; one default is wrong, and of one workload no candidate is right."""
    spent = Conditions(round=1, sm_clock_mhz=1200.0, throttle=("power cap",), dropped=False)
    clocks = (Conditions(round=0, sm_clock_mhz=1980.0), spent)
    return run_file(
        result(decode(), *_pair(faster), failed("broken", "error", "no such symbol"), conditions=clocks),
        result(decode(8, 1024), *_pair(faster), conditions=clocks),
        result(extend(), *_pair(faster)),
        result(topk(), candidate("fast", 134.0), wrong("slow", default=True)),
        result(topk(64), failed("fast", "timeout", "hung"), winner=None, floor_us=None),
        **changes,
    )


def hostile_run(*texts: str, faster: float = 1.0) -> RunFile:
    """A run in which all that may be anything is one of the texts, and the name of what is of all of them."""
    every = " ".join(texts)
    environment = ENVIRONMENT.model_copy(
        update={
            "device": every,
            "driver": every,
            "libraries": {text: text for text in texts},
            "variables": {f"SGLANG_{text}": text for text in texts},
        }
    )
    results = []
    for number, text in enumerate(texts):
        clocks = (Conditions(round=0, sm_clock_mhz=1980.0), Conditions(round=1, sm_clock_mhz=1900.0, throttle=(text,)))
        candidates = (
            candidate("fast", 134.0 / faster, label=text, backend=text),
            candidate("slow", 171.3, default=True, label=text, backend=text),
            wrong("wrong", text, label=text, fix=text),
            failed("bad", "error", text, label=text),
        )
        for workload in (decode(number + 1), topk(number + 1)):
            results.append(result(workload, *candidates, conditions=clocks, stopped=text, warnings=(text,)))
    return run_file(*results, environment=environment, command=("autotune", *texts), name=every, program=every)


def served_run(text: str = "", **changes: Any) -> RunFile:
    """A decode step and an extend that SGLang is to run with larger pages; the fastest decode can't be had of it.

    Args:
        text: in each name that may be anything; empty: names are as usual.
    """
    own = "triton.decode(page_size=64,block=64,warps=4,stages=3,splits=16)"
    times = {"decode": (100.0, 80.0), "extend": (300.0, 290.0)}
    results = []
    for operation, (one, larger) in times.items():
        keys = [planning_runs.fa3(operation, page) for page in (1, 64)]
        found = [planning_runs.candidate(key, us, 0.2) for key, us in zip(keys, (one, larger), strict=True)]
        found += [planning_runs.candidate(own, 70.0, 0.2)] if operation == "decode" else []
        named = [each.model_copy(update={"label": text or each.label}) for each in found]
        results.append(planning_runs.result(planning_runs.workload(operation), *named, default=keys[0]))
    run = planning_runs.run(*results)
    if text:
        device = planning_runs.H100.model_copy(update={"device": f"NVIDIA H100 {text}"})
        changes = {"name": text, "command": ("autotune", "tune", text), "environments": {"e": device}, **changes}
    return run.model_copy(update=changes)


def priced_run() -> RunFile:
    """A run whose winner had to be deterministic, and takes a quarter longer than one that isn't."""
    kept = PropertyVerdict(name="deterministic", ok=True, compared=7)
    loose = PropertyVerdict(name="deterministic", ok=False, compared=7, message="3 of 7 runs differed in 1 of 16 rows")
    entries = (candidate("strict", 125.0, properties=(kept,)), candidate("loose", 100.0, properties=(loose,)))
    cost = ConstraintCost(best="strict", without="loose", ratio=1.25)
    return run_file(result(topk(), *entries, winner="strict", required=("deterministic",), constraint=cost))


def page_of(*runs: RunFile, baseline: str | None = None) -> ReportPage:
    """The page of one run, or of two and what changed."""
    files = [(Path(f"{name}.json"), run) for name, run in zip("AB", runs, strict=False)]
    changes = None
    if len(files) == 2:
        a, b = ([LoadedFile(path, run)] for path, run in files)
        changes = changes_of(compare(a, b, DecisionRule()))
    return make_page(files, changes, baseline)


def html_of(*runs: RunFile, plotting: str = NO_PLOTTING) -> str:
    return page_html(page_of(*runs), plotting)


def _pair(faster: float) -> tuple[Any, Any]:
    return candidate("fast", 134.0 / faster), candidate("slow", 171.3, default=True)


@dataclass
class Element:
    """An element of a page with what is in it."""

    name: str
    attributes: dict[str, str]
    parent: Element | None = None
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def walk(self) -> Iterator[Element]:
        """It, and all below it, in the order of the page."""
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def find(self, name: str, **attributes: str) -> list[Element]:
        """Those below of that name, with these attributes (``class_`` for ``class``)."""
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        return [each for each in self.walk() if each.name == name and wanted.items() <= each.attributes.items()]


class _Tree(html.parser.HTMLParser):
    _VOID = ("meta", "input", "br", "link", "img")

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.place = Element("", {})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {key: value or "" for key, value in attrs}, self.place)
        self.place.children.append(element)
        if tag not in self._VOID:
            self.place = element

    def handle_endtag(self, tag: str) -> None:
        assert self.place.name == tag, f"</{tag}> ends <{self.place.name}>"
        assert self.place.parent is not None
        self.place = self.place.parent

    def handle_data(self, data: str) -> None:
        self.place.children.append(data)


def tree_of(text: str) -> Element:
    """The page's elements. Each must be ended where it was begun."""
    tree = _Tree()
    tree.feed(text)
    tree.close()
    assert tree.place is tree.root, f"<{tree.place.name}> is not ended"
    return tree.root


def data_of(tree: Element) -> Any:
    """What the page's script draws."""
    (element,) = tree.find("script", type="application/json")
    return json.loads(element.text)
