"""What builds are made of: what is listed, a compiler's error in one line, what the machine has to give."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune_cli.kernels.modules import Module
from autotune_cli.kernels.registry import REGISTRY, Candidate, register
from autotune_cli.kernels.topk.workload import TopkWorkload
from autotune_cli.tuning.listing import to_build
from autotune_cli.tuning.resources import cores, free_bytes
from autotune_cli.worker.compiler_errors import compiler_error, reason_of, was_killed
from autotune_cli.worker.faults import fault_of

# --- listing ---------------------------------------------------------------------------------------------------------


def workload(rows: int) -> TopkWorkload:
    return TopkWorkload(operation="topk.select", rows=rows, width=64, k=8, mode="eager")


@pytest.fixture
def own() -> Iterator[dict[str, Any]]:
    """Backends of this test only; ``asked``: names in the order in which they were asked whether they are compiled."""
    REGISTRY.discover()
    facts: dict[str, Any] = {"asked": [], "compiled": {"old"}, "raises": None, "called": 0}

    def never() -> None:
        raise AssertionError("listing compiles nothing")

    def modules(workload: TopkWorkload, names: str) -> list[Module]:
        facts["called"] += 1
        if facts["raises"] is not None and names == "a":
            raise facts["raises"]

        def is_compiled(name: str) -> bool:
            facts["asked"].append(name)
            if name == "unknown":
                raise OSError("no ninja here")
            return name in facts["compiled"]

        return [Module(name, never, lambda name=name: is_compiled(name)) for name in names.split("+")]

    register("topk.select", name="listed.some", modules=modules)(lambda problem, names: None)
    register("topk.select", name="listed.plain", build=lambda workload: None)(lambda problem: None)
    yield facts
    for name in ("listed.some", "listed.plain"):
        del REGISTRY._backends[name]


def listed(*names: str, rows: tuple[int, ...] = (1,)) -> tuple[list[str], dict[tuple[str, str], tuple[str, ...]]]:
    candidates = [Candidate("listed.some", (("names", name),)) for name in names]
    found = to_build([(workload(n), [*candidates, Candidate("listed.plain")]) for n in rows])
    return [module.name for module in found.modules], found.needs


def test_each_module_is_listed_and_asked_once(own: dict[str, Any]) -> None:
    names, needs = listed("a+b", "b", "old+c", "old", rows=(1, 2, 3))
    assert names == ["a", "b", "c"]
    assert own["asked"] == ["a", "b", "old", "c"]
    key = workload(2).key
    assert {candidate: found for (where, candidate), found in needs.items() if where == key} == {
        "listed.some(names=a+b)": ("a", "b"),
        "listed.some(names=b)": ("b",),
        "listed.some(names=old+c)": ("c",),
    }


def test_whom_listing_fails_is_left_to_the_vetting(own: dict[str, Any]) -> None:
    own["raises"] = ValueError("page size")
    assert listed("a", "b")[0] == ["b"]
    own["raises"] = SystemExit(3)
    assert listed("a", "b")[0] == ["b"]


def test_a_library_that_can_not_be_imported_is_tried_once(own: dict[str, Any]) -> None:
    own["raises"] = ImportError("libcudart.so.13")
    assert listed("a", "b", rows=(1, 2, 3)) == ([], {})
    assert own["called"] == 1


def test_what_can_not_be_told_is_built(own: dict[str, Any]) -> None:
    assert listed("unknown")[0] == ["unknown"]


def test_modules_and_build_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="so there is no build besides"):
        register("topk.select", name="x.y", build=lambda workload: None, modules=lambda workload: [])


# --- compilers' errors -----------------------------------------------------------------------------------------------

HEAD = "Ninja build failed. Ninja output:\nninja: Entering directory `/a/b'\n[1/3] nvcc -Xcompiler -Werror x.cu\n"
OUTPUTS = {
    "nvcc": ('/a/b/mine.cuh(12): error: identifier "x" is undefined\n1 error detected', "mine.cuh(12): error: ident"),
    "nvcc with a number": ("/a/mine.cu(3): error #20012-D: no such thing", "mine.cu(3): error #20012-D: no such"),
    "nvcc fatal": ("nvcc fatal   : Unsupported gpu architecture 'compute_90a'", "nvcc fatal   : Unsupported gpu"),
    "gcc": ("/usr/c++/x.h:52:10: fatal error: curand.h: No such file or directory", "x.h:52:10: fatal error: curand.h"),
    "linker": ("/usr/bin/ld: cannot find -lcuda\ncollect2: error: ld returned 1", "collect2: error: ld"),
    "shell": ("/bin/sh: 1: /opt/cuda/bin/nvcc: not found", "sh: 1: nvcc: not found"),
    "disk": ("/tmp/x.ii: No space left on device", "x.ii: No space left on device"),
    "killed": ("nvcc error   : 'cicc' died due to signal 9 (Kill signal)", "nvcc error   : 'cicc' died due to"),
    "ninja": ("ninja: error: loading 'build.ninja': No such file", "ninja: error: loading"),
}


@pytest.mark.parametrize("what", OUTPUTS)
def test_the_first_error_of_a_page_is_the_reason(what: str) -> None:
    output, wanted = OUTPUTS[what]
    command = "nvcc -c /a/mine.cu " + "-I/very/long " * 200
    error = RuntimeError(f"{HEAD}FAILED: x.o\n{command}\n{output}\nninja: build stopped: subcommand failed.\n")
    for reason in (reason_of(error), fault_of(error).reason):
        assert reason.startswith(wanted)
        assert len(reason) <= 300
        assert "\n" not in reason


def test_without_a_compilers_error_the_exception_is_the_reason() -> None:
    assert reason_of(ValueError("no error: here")) == "ValueError: no error: here"
    assert reason_of(RuntimeError("Ninja build failed.\nwhatever")) == "RuntimeError: Ninja build failed."
    assert compiler_error("") is None
    assert len(reason_of(ValueError("x" * 1000))) == 300


def test_who_was_killed() -> None:
    assert was_killed(OUTPUTS["killed"][0])
    assert was_killed("c++: fatal error: Killed signal terminated program cc1plus")
    assert not was_killed(OUTPUTS["nvcc"][0])


# --- what the machine has to give ------------------------------------------------------------------------------------


def container(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text)
    return folder


def test_a_containers_quota_bounds_the_cores(tmp_path: Path) -> None:
    free = cores(tmp_path)
    assert free >= 1
    assert cores(container(tmp_path, cpu_max="50000 100000")) == 1
    assert cores(container(tmp_path, cpu_max="max 100000")) == free
    assert cores(container(tmp_path, cpu_max="99900000 100000")) == free


def test_free_memory_is_the_least_of_machine_and_container(tmp_path: Path) -> None:
    memory = tmp_path / "meminfo"
    assert free_bytes(memory, tmp_path) is None
    memory.write_text("MemTotal:  9000 kB\nMemFree:  10 kB\nMemAvailable:  1000 kB\n")
    assert free_bytes(memory, tmp_path) == 1000 << 10
    limited = {"memory_current": "700000", "memory_stat": "anon 1\ninactive_file 100000\n"}
    assert free_bytes(memory, container(tmp_path, memory_max="900000", **limited)) == 300_000
    assert free_bytes(memory, container(tmp_path, memory_max="max", **limited)) == 1000 << 10
    assert free_bytes(memory, container(tmp_path, memory_max="1", **limited)) == 0
