"""The page as HTML: whole, self-contained, for a keyboard and a screen reader, true to the file. Needs no browser."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources
from itertools import pairwise

import pytest
from recorded import recorded
from report_builders import (
    HOSTILE,
    SESSIONS,
    Element,
    data_of,
    hostile_run,
    html_of,
    page_of,
    priced_run,
    small_run,
    tree_of,
)

from autotune_cli.render.devices import of_device
from autotune_cli.report.page import json_in_html
from autotune_cli.results.files import read_run
from autotune_cli.results.schema import RunFile

pytest.importorskip("jinja2", reason="jinja2 is not installed: pip install jinja2")


@cache
def real_pair() -> tuple[RunFile, RunFile]:
    return read_run(SESSIONS[0]), read_run(SESSIONS[1])


@cache
def pages() -> dict[str, str]:
    slower = small_run(0.8)
    return {"one": html_of(small_run()), "two": html_of(small_run(), slower), "real": html_of(*real_pair())}


@pytest.fixture(params=["one", "two", "real"])
def text(request: pytest.FixtureRequest) -> str:
    return pages()[request.param]


@pytest.fixture
def tree(text: str) -> Element:
    return tree_of(text)


# --- self-contained and harmless -------------------------------------------------------------------------------------


def test_nothing_is_fetched(text: str, tree: Element) -> None:
    for element in tree.walk():
        assert element.name not in ("link", "img", "iframe", "object", "embed", "base", "audio", "video", "source")
        assert not {"src", "srcset", "action", "data", "poster", "style"} & set(element.attributes)
        assert element.attributes.get("href", "#").startswith("#")
    (style,) = tree.find("style")
    assert "url(" not in style.text
    assert "@import" not in style.text


def test_the_policy_allows_the_page_s_own_scripts_and_style_and_nothing_else(tree: Element) -> None:
    (meta,) = tree.find("meta", http_equiv="Content-Security-Policy")
    policy = dict(part.strip().split(" ", 1) for part in meta.attributes["content"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    scripts = [each.text for each in tree.find("script") if "type" not in each.attributes]
    assert policy["script-src"].split() == [fingerprint(each) for each in scripts]
    assert policy["style-src"].split() == [fingerprint(each.text) for each in tree.find("style")]
    # It must stand before what it is to hold.
    assert [each.name for each in tree.find("head")[0].walk()].index("meta") == 1
    assert tree.find("head")[0].find("meta")[1] is meta


def fingerprint(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_others_are_text_wherever_they_stand(name: str) -> None:
    """The page has the elements and attributes that it has with a harmless name, and no others."""
    odd, plain = (tree_of(both_sides(each)) for each in (HOSTILE[name], "plain"))
    assert shape(odd) == shape(plain)
    said = odd.find("main")[0].text
    if name != "control":
        assert HOSTILE[name] in said
    else:
        assert r"\x1b[31m\x00\u202e\u2028\x85" in said
    assert not {c for c in both_sides(HOSTILE[name]) if not c.isprintable() and c != "\n"}
    assert HOSTILE[name] in str(data_of(odd)) or name in ("control", "attribute", "quote")


@cache
def both_sides(text: str) -> str:
    """A page of two files in which all that may be anything is the text."""
    return html_of(hostile_run(text), hostile_run(text, faster=0.5))


def shape(tree: Element) -> list[tuple[str, tuple[str, ...]]]:
    return [(each.name, tuple(each.attributes)) for each in tree.walk()]


@pytest.mark.parametrize("name", HOSTILE)
def test_json_in_a_page_ends_nothing_and_says_the_same(name: str) -> None:
    import json

    text = json_in_html({HOSTILE[name]: [HOSTILE[name]]})
    assert json.loads(text) == {HOSTILE[name]: [HOSTILE[name]]}
    assert not set(text) & set("<>&\u2028\u2029")
    assert text.isascii()


def test_the_page_s_own_files_have_no_end_of_an_element_in_them() -> None:
    for name in ("report.js", "report.css"):
        text = resources.files("autotune_cli.report").joinpath("assets", name).read_text()
        assert "</" not in text
        assert "<!--" not in text
        # Nothing that makes markup or code of a text.
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(", text)


# --- for a keyboard and a screen reader ------------------------------------------------------------------------------


def test_landmarks_headings_and_names(tree: Element) -> None:
    assert [len(tree.find(name)) for name in ("header", "nav", "main", "footer", "h1", "form")] == [1] * 6
    assert tree.find("html")[0].attributes["lang"] == "en"
    assert tree.find("form")[0].attributes["role"] == "search"
    levels = [int(each.name[1]) for each in tree.walk() if re.fullmatch("h[1-6]", each.name)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels)), levels
    for heading in (each for each in tree.walk() if re.fullmatch("h[1-6]", each.name)):
        assert heading.text.strip()


def test_ids_are_unique_and_links_lead_somewhere(tree: Element) -> None:
    ids = [each.attributes["id"] for each in tree.walk() if "id" in each.attributes]
    assert len(set(ids)) == len(ids)
    # No text of a file is in an id: it could name one of the page's own.
    assert all(re.fullmatch(r"[a-z0-9-]+", each) for each in ids)
    for link in tree.find("a"):
        assert link.attributes["href"][1:] in ids
        assert link.text.strip()
    for element in tree.walk():
        for name in ("aria-labelledby", "data-figure"):
            assert element.attributes.get(name, ids[0]) in ids


def test_every_control_has_a_name(tree: Element) -> None:
    controls = [each for each in tree.walk() if each.name in ("select", "input", "button")]
    assert len(controls) >= 4
    for each in controls:
        inside = each.text if each.name == "button" else ""
        label = each.parent.text if each.parent is not None and each.parent.name == "label" else inside
        assert label.strip(), each
    # What changes is told.
    (told,) = tree.find("output")
    assert told.attributes["aria-live"] == "polite"


def test_every_figure_has_a_name_and_the_table_of_its_numbers(tree: Element) -> None:
    figures = tree.find("figure")
    assert figures
    tables = {each.attributes["id"]: each for each in tree.find("table")}
    for figure in figures:
        assert figure.attributes["aria-label"]
        (caption,) = figure.find("figcaption")
        (link,) = caption.find("a")
        assert tables[link.attributes["href"][1:]].find("td")
    data = data_of(tree)
    drawn = {each.attributes["data-figure"] for each in tree.walk() if "data-figure" in each.attributes}
    assert drawn == set(data["figures"])
    assert all(spec["description"] for spec in data["figures"].values())


def test_tables_have_captions_and_headed_rows_and_columns_and_scroll_by_keyboard(tree: Element) -> None:
    for table in tree.find("table"):
        assert table.find("caption")[0].text.strip()
        heads = table.find("thead")[0].find("th")
        assert all(each.attributes["scope"] == "col" for each in heads)
        for row in table.find("tbody")[0].find("tr"):
            cells = [each for each in row.children if isinstance(each, Element)]
            assert len(cells) == len(heads)
        assert table.parent is not None
        assert table.parent.attributes["tabindex"] == "0"
        assert table.parent.attributes["aria-label"]


def luminance(colour: str) -> float:
    """https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    shares = [int(colour[number : number + 2], 16) / 255 for number in (1, 3, 5)]
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_colours_can_be_told_from_the_page(theme: str) -> None:
    style = resources.files("autotune_cli.report").joinpath("assets", "report.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)
    assert len(blocks) == 3
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", blocks[["light", "dark", "print"].index(theme)]))
    for name, colour in colours.items():
        # WCAG 2.2: 4.5 for texts, 3 for the marks of a figure; lines between rows say nothing.
        least = 4.5 if name in ("text", "faint", "link", "better", "worse", "news", "unclear", "warning") else 3.0
        if name in ("page", "panel", "grid", "line", "warning-page"):
            continue
        for page in ("page", "panel", "warning-page") if name in ("text", "faint", "warning") else ("page",):
            dark, light = sorted((luminance(colour), luminance(colours[page])))
            assert (light + 0.05) / (dark + 0.05) >= least, f"{name} on {page}"


# --- true to the file ------------------------------------------------------------------------------------------------


def test_gains_and_times_are_those_of_the_file() -> None:
    run = real_pair()[1]
    (part,) = page_of(run).results
    tree = tree_of(html_of(run))
    rows = tree.find("table", id="r0-table")[0].find("tbody")[0].find("tr")
    assert len(rows) == len(run.workloads) == len(part.workloads)
    for row, result in zip(rows, run.workloads, strict=True):
        assert result.choice is not None
        winner = result.candidate(result.choice.winner)
        assert winner.median_us is not None
        cells = [each.text.strip() for each in row.find("td")]
        assert cells[0].startswith(winner.label)
        assert float(cells[1].split(" ± ")[0]) == pytest.approx(winner.median_us, rel=1e-3)
        assert result.choice.speedup is not None
        assert float(cells[3].split(" ± ")[0]) == pytest.approx(result.choice.speedup, abs=6e-3)
    drawn = data_of(tree)["figures"]["r0-gain0"]["data"]["values"]
    assert [row["speedup"] for row in drawn] == [each.choice and each.choice.speedup for each in run.workloads]
    assert [(row["low"], row["high"]) for row in drawn] == [
        (each.choice and each.choice.speedup_interval) or (1.0, 1.0) for each in run.workloads
    ]


def test_rounds_and_clocks_are_those_of_the_file() -> None:
    run = real_pair()[0]
    rounds = data_of(tree_of(html_of(run)))["rounds"]
    for number, result in enumerate(run.workloads):
        drawn = rounds[f"r0-w{number}"]
        by_label = {each["label"].partition(" (")[0]: each["us"] for each in reversed(drawn["series"])}
        for candidate in result.candidates:
            if candidate.rounds:
                times = dict(zip(drawn["rounds"], by_label[candidate.label], strict=True))
                assert {round_: us for round_, us in times.items() if us is not None} == candidate.us_by_round
        clocks = dict(zip(drawn["rounds"], drawn["clocks"], strict=True))
        for reading in result.conditions:
            assert clocks[reading.round] == [reading.sm_clock_mhz, ", ".join(reading.throttle), reading.dropped]


def test_what_was_wrong_and_why() -> None:
    (part,) = page_of(small_run()).results
    assert [(each.candidate, each.status, each.reason) for each in part.failures] == [
        ("slow", "incorrect", "wrong on normal: misses 21"),
        ("broken", "error", "no such symbol"),
        ("fast", "timeout", "hung"),
    ]
    assert part.failures[0].is_default
    assert part.failures[0].evidence == ("normal: wrong indices 21, allowed 0",)
    table = tree_of(html_of(small_run())).find("table", id="r0-failed")[0]
    assert "misses 21" in table.text
    assert "(the default)" in table.text
    assert any("no winner" in line for line in part.warnings)


def test_without_failures_the_page_says_so() -> None:
    text = html_of(real_pair()[0])
    assert "Every candidate that ran was right." in text


def test_two_files_have_the_rows_of_diff() -> None:
    page = page_of(small_run(), small_run(0.8))
    assert page.changes is not None
    tree = tree_of(html_of(small_run(), small_run(0.8)))
    rows = tree.find("tr", class_="change")
    assert len(rows) == len(page.changes.rows)
    assert [each.device for each in page.results] == ["NVIDIA H200", "NVIDIA H200"]
    # The newer one comes first.
    assert [each.side for each in page.results] == ["B", "A"]
    real = page_of(*real_pair())
    assert real.changes is not None
    assert {row.word for row in real.changes.rows} == {"ambiguous", "same", "choice"}
    assert len(real.changes.ratios) == 37


def test_the_baseline_that_was_asked_for_comes_first() -> None:
    run = of_device(read_run(recorded("llama-3.1-8b")), "h100")
    default, asked = (
        page_of(run, baseline=name).results[0] for name in (None, "sglang --attention-backend flashinfer")
    )
    assert default.baselines == ("sglang", "sglang --attention-backend flashinfer")
    assert asked.baselines == ("sglang --attention-backend flashinfer", "sglang")
    extend = next(each for each in asked.workloads if each.id == "r0-w15")
    assert [each.text for each in extend.speedups] == ["3.094 ± .023", "1.085 ± .005"]
    assert extend.times[1].us == pytest.approx(105.1, rel=1e-2)


def test_workloads_that_look_alike_are_called_by_their_keys() -> None:
    run = small_run()
    wide = run.workloads[0].workload.geometry.model_copy(update={"head_dim": 256})  # type: ignore[attr-defined]
    other = run.workloads[0].workload.model_copy(update={"geometry": wide})
    twice = run.workloads[0].model_copy(update={"workload": other, "key": other.key})
    (part,) = page_of(run.model_copy(update={"workloads": (*run.workloads[:2], twice)})).results
    assert [each.name for each in part.workloads] == [
        "attention.decode 64 x 8192 graph h32/8 d128 bfloat16",
        "attention.decode 8 x ≤1024 graph",
        "attention.decode 64 x 8192 graph h32/8 d256 bfloat16",
    ]


def test_candidates_that_are_called_alike_have_a_line_each() -> None:
    data = data_of(tree_of(html_of(hostile_run("alike"))))
    labels = [each["label"] for each in data["rounds"]["r0-w0"]["series"]]
    assert labels == ["alike (winner)", "alike (sglang)"]
    run = small_run()
    entries = [each.model_copy(update={"label": "alike"}) for each in run.workloads[0].candidates]
    first = run.workloads[0].model_copy(update={"candidates": tuple(entries), "choice": None, "baselines": ()})
    rounds = data_of(tree_of(html_of(run.model_copy(update={"workloads": (first,)}))))["rounds"]["r0-w0"]
    assert [each["label"] for each in rounds["series"]] == ["alike", "alike #2"]


def test_the_environment_is_there() -> None:
    (part,) = page_of(small_run()).results
    facts = {fact.name: fact.value for group in part.environment for fact in group.facts}
    assert facts["device"] == "NVIDIA H200"
    assert facts["flashinfer"] == "0.6.18"
    assert facts["sgl_kernel"] == "not installed"
    assert facts["noise band"] == "0.20 %"
    assert facts["written"] == "2026-11-21 09:30:12 UTC"
    assert "highest SM clock" not in facts


def test_of_two_devices_each_has_a_part() -> None:
    run = read_run(recorded("deepseek-v3.2"))
    page = page_of(run)
    assert [each.device for each in page.results] == ["NVIDIA H100 80GB HBM3", "NVIDIA H200"]
    assert [each.failures[0].candidate for each in page.results] == ["sgl_kernel.fast_topk_v2"] * 2
    assert not page.results[0].baselines


def test_what_is_required_and_what_it_costs_is_among_a_workloads_facts() -> None:
    (part,) = page_of(priced_run()).results
    (workload,) = part.workloads
    told = "not deterministic: 3 of 7 runs differed in 1 of 16 rows"
    assert any("deterministic costs +25.0 %" in fact and told in fact for fact in workload.facts)
    assert told in " ".join(row.note for row in workload.candidates)
