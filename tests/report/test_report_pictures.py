"""The script that takes the pictures of docs/ finds what it needs when it is run as docs/report.md says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jinja2", reason="jinja2 is not installed: pip install jinja2")
SCRIPT = Path(__file__).with_name("take_picture.py")


def test_the_script_starts() -> None:
    start = "import runpy, sys; sys.path[0] = sys.argv[1]; runpy.run_path(sys.argv[2], run_name='imported')"
    command = [sys.executable, "-c", start, str(SCRIPT.parent), str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
