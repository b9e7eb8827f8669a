"""What the files of timers say of themselves."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from autotune_cli.errors import UnknownName
from autotune_cli.measure import timers


@pytest.mark.parametrize("name", timers.known_timers())
def test_a_timer_is_called_like_its_file_and_can_be_made(name: str) -> None:
    module = importlib.import_module(f"autotune_cli.measure.timers.{name}")
    assert module.ABOUT is timers.known_timers()[name]
    assert module.ABOUT.name == name
    assert callable(module.make)
    assert module.ABOUT.header
    assert module.ABOUT.devices


def test_the_default_of_a_device_has_the_lowest_rank() -> None:
    assert timers.default_timer("cuda") == "cupti"
    assert timers.default_timer("cpu") == "cpu_clock"
    ranks = [(device, about.rank) for about in timers.known_timers().values() for device in about.devices]
    assert len(set(ranks)) == len(ranks), "which one is the default is left to chance"


def test_a_device_has_its_own_timers_only() -> None:
    timers.check_timer("events", "cuda")
    with pytest.raises(UnknownName, match=r"unknown timer 'events' \(known: cpu_clock\)"):
        timers.check_timer("events", "cpu")
    assert timers.make_timer("cpu_clock", "cpu").name == "cpu_clock"


def test_words() -> None:
    assert timers.in_words() == "cupti, events (GPU) or cpu_clock"
    assert timers.header_words("cupti") == "CUPTI"
    # A file that another version of the program wrote.
    assert timers.header_words("sundial") == "sundial"


def test_asking_what_timers_there_are_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom autotune_cli.measure import timers\nassert timers.in_words()\n"
        "print(*sorted({'torch', 'pydantic', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
