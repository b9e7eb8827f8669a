"""A real Chromium without a window, driven over the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/).

Commands go through two pipes (``--remote-debugging-pipe``), so nothing listens on a port, no driver has to fit the
browser's version, and the browser ends with the pipe. Nothing is waited for by time: each command has its answer, and
the page says when it has drawn all.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
VARIABLE = "AUTOTUNE_TEST_BROWSER"
WHY_NOT = f"no Chromium is installed: apt-get install chromium, or set {VARIABLE}"
_OPTIONS = (
    "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-gpu",
    "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--mute-audio", "--hide-scrollbars", "--force-color-profile=srgb",
    "--font-render-hinting=none",
    # A page that asked for anything would get an error: no host has an address.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
# Of the kinds of keys that a test presses: code and what is typed.
_KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " "), "ArrowDown": (40, ""), "ArrowRight": (39, "")}


# The protocol's pipes are descriptors 3 (to the browser) and 4 (from it), whichever ours are.
_WRAPPER = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3]]
for number, end in zip((3, 4), ends):
    os.dup2(end, number)
    os.close(end)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class BrowserError(AssertionError):
    """The browser said no, or the page raised an exception."""


def executable() -> str | None:
    """The browser's path; None: there is none."""
    named = os.environ.get(VARIABLE)
    return named or next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One page in a browser of its own."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = os.fdopen(read, "rb"), os.fdopen(write, "wb")
        self._number, self._session, self._rest = 0, "", b""
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command's answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + b"\0")
        self._write.flush()
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']}")
        found: dict[str, Any] = answer["result"]
        return found

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = self._read.read1(1 << 20)
            if not data:
                raise BrowserError("the browser has ended")
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def event(self, name: str) -> dict[str, Any]:
        """The next event of that name, seen or to come."""
        while True:
            for number, seen in enumerate(self.events):
                if seen.get("method") == name:
                    return self.events.pop(number)
            self.events.append(self._next())

    def open(self, path: Path) -> None:
        """Load a file, and wait until its figures are drawn."""
        self.events.clear()
        self.send("Page.navigate", url=path.as_uri())
        self.event("Page.loadEventFired")
        self.drawn()

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression, of a promise what it comes to."""
        answer = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise BrowserError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def drawn(self) -> None:
        """Wait until all that was asked for is drawn."""
        self.ask("new Promise((done) => setTimeout(done)).then(() => window.reportDrawn?.()).then(() => null)")

    def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true: of what the browser does in its own time."""
        self.ask(f"""new Promise((done) => {{
            const look = () => (({condition}) ? done(null) : setTimeout(look, 10)); look(); }})""")
        self.drawn()

    def texts(self, selector: str) -> list[str]:
        """What stands in the elements that are seen."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})]"
        seen: list[str] = self.ask(f"{found}.filter((e) => e.checkVisibility()).map((e) => e.innerText)")
        return seen

    def click(self, selector: str) -> None:
        """A real click with the mouse, in the middle of the first such element."""
        code = f"""(() => {{ const e = document.querySelector({json.dumps(selector)});
            e.scrollIntoView({{ block: "center", behavior: "instant" }});
            const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"""
        x, y = self.ask(code)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.drawn()

    def press(self, *keys: str) -> None:
        """Real keys, one after another."""
        for key in keys:
            code, text = _KEYS.get(key, (0, key))
            more = {"windowsVirtualKeyCode": code} if code else {}
            typed = {"text": text} if text else {}
            self.send("Input.dispatchKeyEvent", type="keyDown", key="Enter" if key == "\r" else key, **more, **typed)
            self.send("Input.dispatchKeyEvent", type="keyUp", key=key, **more)
        self.drawn()

    def type(self, text: str) -> None:
        self.send("Input.insertText", text=text)
        self.drawn()

    def media(self, kind: str = "screen", **features: str) -> None:
        """What the page is shown on: ``print``, or a screen with ``prefers_color_scheme="dark"``."""
        # A page that scrolls smoothly would still be on its way when a button is looked for.
        features = {"prefers_reduced_motion": "reduce", **features}
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.send("Emulation.setEmulatedMedia", media=kind, features=named)

    def size(self, width: int, height: int) -> None:
        """Of the window, in CSS pixels."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.ask("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(null))))")
        self.drawn()

    def picture(self, whole: bool = False) -> bytes:
        """PNG of what is seen, or of the whole page."""
        answer = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(answer["data"])

    def pdf(self) -> bytes:
        """The page on paper, in its own style for that: a screen that was asked for before would be printed."""
        self.send("Emulation.setEmulatedMedia", media="", features=[])
        answer = self.send("Page.printToPDF", printBackground=False, preferCSSPageSize=True)
        return base64.b64decode(answer["data"])

    def close(self) -> None:
        with contextlib.suppress(BrowserError, OSError):
            self._session = ""
            self.send("Browser.close")
        for stream in (self._read, self._write):
            with contextlib.suppress(OSError):
                stream.close()


@contextlib.contextmanager
def chromium(variables: Mapping[str, str] | None = None) -> Iterator[Page]:
    """A browser with an empty profile, which ends with the block.

    Raises:
        BrowserError: there is none.
    """
    program = executable()
    if program is None:
        raise BrowserError(WHY_NOT)
    with tempfile.TemporaryDirectory(prefix="autotune-browser-", ignore_cleanup_errors=True) as profile:
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        # A browser must not trust its sandbox to root; the page is our own.
        options = [*_OPTIONS, f"--user-data-dir={profile}", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        with subprocess.Popen(
            [sys.executable, "-S", "-c", _WRAPPER, str(theirs_in), str(theirs_out), program, *options],
            pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True, env={**os.environ, **(variables or {}), "HOME": profile},
        ) as process:  # fmt: skip
            os.close(theirs_in)
            os.close(theirs_out)
            page = None
            try:
                page = Page(ours_in, ours_out)
                yield page
            finally:
                if page is not None:
                    page.close()
                # Its own session, so nothing else is meant.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


needs_browser = pytest.mark.skipif(executable() is None, reason=WHY_NOT)
