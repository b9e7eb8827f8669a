"""The page in a real Chromium: it draws, filters by mouse and by keyboard, prints, and runs nothing of others.

Skipped where there is no browser (tests/report/browser.py says which it looks for). Numbers are read back from the page
and held against the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Page, chromium, needs_browser
from recorded import recorded
from report_builders import HOSTILE, hostile_run, page_of, small_run

from autotune_cli.render.devices import of_device
from autotune_cli.report.page import page_html
from autotune_cli.report.plotting import plotting_script
from autotune_cli.results.files import read_run
from autotune_cli.results.schema import RunFile

pytest.importorskip("jinja2", reason="jinja2 is not installed: pip install jinja2")
pytest.importorskip("vl_convert", reason="not installed: pip install vl-convert-python")
pytestmark = needs_browser

COUNT = "document.querySelectorAll('{}').length"


def cached(name: str, device: str) -> RunFile:
    return of_device(read_run(recorded(name)), device)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    pages = {
        "llama": page_of(cached("llama-3.1-8b", "h100")),
        "deepseek": page_of(cached("deepseek-v3.2", "h100")),
        "two": page_of(small_run(), small_run(0.8)),
    }
    texts = HOSTILE.values()
    pages["hostile"] = page_of(hostile_run(*texts), hostile_run(*texts, faster=0.5))
    for name, page in pages.items():
        (folder / f"{name}.html").write_text(page_html(page, plotting_script()), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in pages}


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with chromium() as page:
        yield page


@pytest.fixture
def page(browser: Page) -> Page:
    browser.media("screen", prefers_color_scheme="light")
    browser.size(1280, 900)
    return browser


def complaints(page: Page) -> list[Any]:
    """What the page and the browser had to say, and what was fetched besides the page itself."""
    page.ask("1")
    kinds = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Page.javascriptDialogOpening")
    said = [event for event in page.events if event.get("method") in kinds]
    asked = [
        event["params"]["request"]["url"] for event in page.events if event.get("method") == "Network.requestWillBeSent"
    ]
    return said + asked[1:]


def points(page: Page, figure: str) -> list[str]:
    """What a screen reader is told of the points of a figure."""
    found: list[str] = page.ask(
        f"[...document.querySelectorAll('{figure} svg .mark-symbol [aria-label]')].map((e) => e.ariaLabel)"
    )
    return found


def found(pattern: str, lines: list[str]) -> list[Any]:
    """What the pattern's groups are in each line."""
    matches = [re.findall(pattern, line) for line in lines]
    assert all(len(each) == 1 for each in matches), lines
    return [each[0] for each in matches]


def test_it_draws_and_fetches_nothing(page: Page, files: dict[str, Path]) -> None:
    for name in ("llama", "two"):
        page.open(files[name])
        shown = page.ask("[...document.querySelectorAll('[data-figure]')].filter((e) => !e.closest('[hidden]')).length")
        assert page.ask(COUNT.format("[data-figure] svg")) == shown > 3
        assert complaints(page) == []


def test_a_figure_has_the_numbers_of_the_file(page: Page, files: dict[str, Path]) -> None:
    page.open(files["llama"])
    run = cached("llama-3.1-8b", "h100")
    said = points(page, "#r0-gain0")
    assert len(said) == len(run.workloads)
    gains = [result.choice and result.choice.speedup for result in run.workloads]
    assert [float(each) for each in found(r"speed-up: ([\d.]+)", said)] == pytest.approx(gains, abs=6e-4)
    # The picture as a whole has a name too.
    assert page.ask("document.querySelector('#r0-gain0 svg').getAttribute('aria-label')") == (
        "Speed-up of each workload over sglang"
    )


def test_a_click_opens_a_workload_with_its_rounds_and_clock(page: Page, files: dict[str, Path]) -> None:
    page.open(files["llama"])
    page.click("#r0-table tbody tr:nth-child(15) a")
    page.until("document.querySelector('#r0-w14 figure').dataset.drawn === 'yes'")
    assert page.ask("document.getElementById('r0-w14').open") is True
    assert page.ask("location.hash") == "#r0-w14"
    result = cached("llama-3.1-8b", "h100").workloads[14]
    assert result.choice is not None
    winner = result.candidate(result.choice.winner)
    times, clocks = (points(page, f"#r0-w14 figure .wide:nth-of-type({number})") for number in (1, 2))
    of_winner = [line for line in times if line.startswith(f"candidate: {winner.label} (winner)")]
    read = found(r"round: (\d+); time, us: ([\d.,]+)", of_winner)
    assert {int(number): float(us.replace(",", "")) for number, us in read} == pytest.approx(
        winner.us_by_round, rel=1e-3
    )
    read = found(r"round: (\d+); SM clock, MHz: (\d+); state: ([\w ]+)", clocks)
    assert [(int(number), float(mhz), state != "as usual") for number, mhz, state in read] == [
        (each.round, each.sm_clock_mhz, bool(each.throttle)) for each in result.conditions
    ]
    # The box that brings the others, too.
    page.click("#r0-w14 .every")
    assert len(points(page, "#r0-w14 figure .wide:nth-of-type(1)")) == sum(
        len(each.rounds) for each in result.candidates
    ) + len(result.noise_rounds)
    assert complaints(page) == []


def test_the_filter_by_mouse_and_text(page: Page, files: dict[str, Path]) -> None:
    page.open(files["llama"])
    assert page.texts("#shown") == ["20 of 20 workloads"]
    page.click("#text")
    page.type("EXTEND 128+")
    assert page.texts("#shown") == ["1 of 20 workloads"]
    (row,) = page.texts("#r0-table tbody tr")
    assert re.sub(r"\s+", " ", row).startswith(
        "attention.extend 8 x ≤128+2048 eager sgl_kernel.fa3 page 128 num splits 0 53.32 ± 0.17 57.97 ± "
    )
    assert "1.089 ± .005" in row
    assert page.texts("details.workload h4") == ["attention.extend 8 x ≤128+2048 eager"]
    assert len(points(page, "#r0-gain0")) == 1
    assert "1.089" in points(page, "#r0-gain0")[0]
    # Words that only a candidate has leave its workloads, and in them its rows.
    page.ask("document.getElementById('text').value = ''")
    page.type("xqa")
    run = cached("llama-3.1-8b", "h100")
    with_it = [each for each in run.workloads if any("xqa" in c.label for c in each.candidates)]
    assert page.texts("#shown") == [f"{len(with_it)} of 20 workloads"]
    page.click("#filter button")
    assert page.texts("#shown") == ["20 of 20 workloads"]
    assert len(points(page, "#r0-gain0")) == 20


def test_the_filter_by_keyboard_alone(page: Page, files: dict[str, Path]) -> None:
    page.open(files["deepseek"])
    page.ask("document.body.focus()")
    page.press("Tab")
    assert page.ask("document.activeElement.className") == "skip"
    # What has the focus can be seen.
    assert page.ask("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert page.ask("document.activeElement.getBoundingClientRect().x") >= 0
    for _ in range(40):
        page.press("Tab")
        if page.ask("document.activeElement.id") == "status":
            break
    assert page.ask("document.activeElement.id") == "status"
    assert page.ask("getComputedStyle(document.activeElement).outlineStyle") != "none"
    # A list takes the first letters of what it offers.
    page.press("i", "n", "c")
    assert page.ask("document.activeElement.value") == "status:incorrect"
    assert page.texts("#shown") == ["11 of 11 workloads, 11 of 11 failures"]
    rows = page.texts("#r0-failed tbody tr")
    assert len(rows) == 11
    assert "misses 38 of 2048 in row 2" in rows[4]
    page.press("Tab", "2", "6", "2", "1", "4", "4")
    assert page.texts("#shown") == ["2 of 11 workloads, 2 of 11 failures"]
    # A workload is opened by Enter on its summary, and then has the one candidate.
    page.ask("document.querySelector('details.workload:not([hidden]) summary').focus()")
    page.press("Enter")
    (row,) = page.texts("details.workload:not([hidden]) tr.candidate")
    assert "fast_topk_v2" in row


def test_another_baseline_by_keyboard(page: Page, files: dict[str, Path]) -> None:
    page.open(files["llama"])
    page.ask("document.querySelector('[name=r0-gain0-view]').focus()")
    page.press("ArrowRight")
    assert page.ask("document.getElementById('r0-gain0').hidden") is True
    said = points(page, "#r0-gain1")
    assert len(said) == 20
    assert "3.094" in said[15]
    # Times against the batch instead of the context, filtered before they were ever drawn.
    page.click("#text")
    page.type("≤8192 graph")
    page.click("[name=r0-time0-1-view][value=r0-time0-0]")
    said = points(page, "#r0-time0-0")
    assert set(found(r"workload: (.*?);", said)) == {
        "attention.decode 1 x ≤8192 graph",
        "attention.decode 8 x ≤8192 graph",
        "attention.decode 64 x ≤8192 graph",
    }


def test_the_plan_is_filtered_with_the_rest(page: Page, files: dict[str, Path]) -> None:
    page.open(files["llama"])
    rows = "#r0-planned tbody tr"
    assert len(page.texts(rows)) == len(points(page, "#r0-plan-gain")) == 20
    page.click("#text")
    page.type("extend ≤128+2048")
    (row,) = page.texts(rows)
    (point,) = points(page, "#r0-plan-gain")
    (gain,) = found(r"ratio of times: ([\d.]+)", [point])
    assert row.split("\t")[0].startswith("attention.extend 8 x ")
    assert gain == row.split("\t")[4].partition(" ")[0] == "1.087"


def test_changes_are_filtered_by_verdict(page: Page, files: dict[str, Path]) -> None:
    page.open(files["two"])
    before = page.texts("#shown")[0]
    page.ask("(() => { const e = document.getElementById('status'); e.value = 'change:slower'; "
             "e.dispatchEvent(new Event('input', { bubbles: true })); })()")  # fmt: skip
    page.drawn()
    rows = page.texts("tr.change")
    assert rows
    assert all(row.startswith("slower") for row in rows)
    assert f"{len(rows)} of " in page.texts("#shown")[0] != before
    assert len(points(page, "#changes-figure")) == len(rows)
    assert all("verdict: slower" in line for line in points(page, "#changes-figure"))


def test_dark_light_and_narrow(page: Page, files: dict[str, Path]) -> None:
    page.open(files["llama"])
    colour = "getComputedStyle({}).{}"
    label = "document.querySelector('#r0-gain0 svg .role-axis-label text')"
    light = [
        page.ask(colour.format(each, what)) for each, what in (("document.body", "backgroundColor"), (label, "fill"))
    ]
    page.media("screen", prefers_color_scheme="dark")
    dark = [
        page.ask(colour.format(each, what)) for each, what in (("document.body", "backgroundColor"), (label, "fill"))
    ]
    assert light == ["rgb(255, 255, 255)", "rgb(27, 31, 36)"]
    assert dark == ["rgb(20, 23, 28)", "rgb(230, 233, 238)"]
    page.size(320, 700)
    # WCAG 2.2, 1.4.10: 320 pixels are enough without scrolling to the side; wide tables and figures scroll themselves.
    assert page.ask("document.documentElement.scrollWidth") <= 320


def test_paper(page: Page, files: dict[str, Path]) -> None:
    page.open(files["deepseek"])
    page.click("#r0-workloads ~ details summary")
    document = page.pdf()
    assert document.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", document)) > 2
    page.media("print")
    assert page.texts("nav, #filter select, button") == []
    # On paper it is always light.
    page.media("print", prefers_color_scheme="dark")
    assert page.ask("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"


def test_what_a_screen_reader_is_told(page: Page, files: dict[str, Path]) -> None:
    page.open(files["deepseek"])
    page.send("Accessibility.enable")
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    told = [(each["role"]["value"], each.get("name", {}).get("value", "")) for each in nodes if not each["ignored"]]
    roles = [role for role, _ in told]
    for landmark in ("banner", "navigation", "search", "main", "contentinfo"):
        assert roles.count(landmark) == 1, landmark
    for role in (
        "combobox",
        "searchbox",
        "button",
        "radio",
        "checkbox",
        "link",
        "region",
        "figure",
        "table",
        "heading",
    ):
        named = [name for found, name in told if found == role]
        assert all(named), role
    assert ("heading", "Incorrect and failed") in told
    assert any(role == "table" and name.startswith("Workloads of NVIDIA H100") for role, name in told)
    assert any(name.startswith("Time of topk.select, eager against width") for _, name in told)


def test_nothing_of_others_is_run(page: Page, files: dict[str, Path]) -> None:
    page.open(files["hostile"])
    page.click("#b0 .open-all")
    page.until(COUNT.format("#b0 figure[data-drawn=yes]") + f" === {2 * len(HOSTILE)}")
    assert page.ask(COUNT.format("#b0 details.workload svg")) == 4 * len(HOSTILE)
    for text in HOSTILE.values():
        page.ask("document.getElementById('text').select()")
        page.type(text.replace("\x00", ""))
    page.press("Tab")
    assert page.ask("typeof window.taken") == "undefined"
    assert page.ask(COUNT.format("img, iframe, [onerror], [onfocus], [onmouseover]")) == 0
    assert page.ask(COUNT.format("script")) == 3
    assert complaints(page) == []
    assert page.ask(COUNT.format("[data-figure] svg")) > 3
