"""Takes the pictures of docs/ again: python tests/report/take_picture.py. Needs a Chromium."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

# As pytest finds what tests of several folders share.
sys.path.insert(0, str(Path(__file__).parents[1]))

from browser import Page, chromium
from report_builders import ROOT

from autotune_cli.render.devices import of_device
from autotune_cli.report.making import make_page
from autotune_cli.report.page import page_html
from autotune_cli.report.plotting import plotting_script
from autotune_cli.results.files import read_run

RESULT = Path("cache/llama-3.1-8b.json")
# Bytes, for a repository.
MOST = 300_000


def gains(browser: Page) -> None:
    """The head of the page and its first figure."""
    browser.size(1200, 1190)


def times(browser: Page) -> None:
    """Times against sizes."""
    browser.size(1200, 650)
    browser.ask("document.getElementById('r0-times').scrollIntoView()")


def plan(browser: Page) -> None:
    """One server for all of it."""
    browser.size(1200, 1060)
    browser.ask("document.getElementById('r0-plan').scrollIntoView()")


def rounds(browser: Page) -> None:
    """A workload that the power cap slowed down."""
    browser.size(1200, 900)
    browser.click("#r0-w14 summary")
    browser.until("document.querySelector('#r0-w14 figure').dataset.drawn === 'yes'")
    browser.ask("document.getElementById('r0-w14').scrollIntoView()")


def main() -> None:
    """Write the pictures of the H100's results of Llama-3.1-8B.

    Raises:
        ValueError: one is too large.
    """
    run = of_device(read_run(ROOT / RESULT), "h100")
    text = page_html(make_page([(RESULT, run)], None, None), plotting_script())
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        file = Path(folder, "report.html")
        file.write_text(text, encoding="utf-8")
        pictures = {"report": gains, "report-times": times, "report-plan": plan, "report-rounds": rounds}
        for name, arranged in pictures.items():
            browser.media("screen", prefers_color_scheme="light")
            browser.open(file)
            arranged(browser)
            picture = browser.picture()
            if len(picture) > MOST:
                raise ValueError(f"{name}.png: {len(picture):,} bytes")
            (ROOT / "docs" / f"{name}.png").write_bytes(picture)
            print(f"wrote docs/{name}.png: {len(picture):,} bytes")


if __name__ == "__main__":
    main()
