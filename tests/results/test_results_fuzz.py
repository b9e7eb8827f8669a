"""The fuzzer of benchmarks/ on a few inputs of each kind; and it knows a fault when it sees one."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from running import PATIENCE_S

FOLDER = Path(__file__).parents[2] / "benchmarks"
PROGRAM = """
import sys, time
sys.path.insert(0, sys.argv.pop(1))
import fuzz, fuzz_trial, fuzz_workers
fuzz_workers.PATIENCE_S, fuzz_trial.MOST_BYTES = {patience}, 3e8
def faulty(): {body}
fuzz_trial.program = faulty
fuzz.main()
"""


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location("fuzz_benchmark", FOLDER / "fuzz.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(FOLDER))


def test_sixty_inputs_meet_no_fault() -> None:
    command = [sys.executable, str(FOLDER / "fuzz.py"), "--count", "60", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert "60 inputs, seed 3, 0 faults" in done.stdout


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("raise ValueError('x')", "traceback: ValueError: x"),
        ("sys.exit(1)", "traceback: exit code 1 without a verdict"),
        ("sys.exit(2)", "traceback: exit code 2 without its line"),
        ("sys.exit(3)", "traceback: exit code 3 without a word"),
        ("sys.exit(70)", "traceback:"),
        ("sys.exit(-9)", "traceback: exit code -9"),
        ("import os; os.kill(os.getpid(), 9)", "traceback: the process died"),
        ("time.sleep(1000)", "hang: over 0.5 s"),
        ("print(len(b'x' * 350_000_000))", "memory: "),
        ("open(sys.argv[2], 'a').write('x')", "changed: "),
    ],
)
def test_faults_are_seen(body: str, fault: str) -> None:
    options = ["--count", "1", "--workers", "1", "--kind", "run", "--seed", "7"]
    code = PROGRAM.format(body=body, patience=0.5 if "sleep" in body else PATIENCE_S)
    done = subprocess.run(
        [sys.executable, "-c", code, str(FOLDER), *options], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 1, done.stderr
    assert f"0 run: {fault}" in done.stderr
    assert "1 inputs, seed 7, 1 faults" in done.stdout


def test_an_input_can_be_made_again(fuzz: ModuleType, tmp_path: Path) -> None:
    for index, kind in enumerate(sys.modules["fuzz_inputs"].kinds()):
        made = [sys.modules["fuzz_inputs"].mutated(kind, random.Random(f"5 {index}")) for _ in range(2)]
        assert made[0] == made[1] == fuzz.keep(tmp_path, index, 5, kind).read_bytes(), kind
    assert len(os.listdir(tmp_path)) == len(sys.modules["fuzz_inputs"].kinds())
