"""A whole run over several lengths on a CPU, where nothing is captured: prepared once, refilled for each length."""

from __future__ import annotations

from running import Autotune

# Time passes by the keys of the longest request, whatever the machine does.
KERNEL = """
import time

from autotune_cli.kernels import Prepared, register
from autotune_cli.kernels.registry import Candidate, prepared

passed, real = [0], time.perf_counter_ns
time.perf_counter_ns = lambda: real() + passed[0]
SECONDS = {"short": lambda keys: keys, "long": lambda keys: 100 + keys // 4, "stuck": lambda keys: 1}


@register("attention.decode", name="mine.kernel", knobs={"made_for": tuple(SECONDS)}, devices=("cpu",))
def prepare(problem, made_for):
    inner = prepared(Candidate("torch.sdpa", (("kernel", "math"),)), problem)
    longest = [max(problem.lengths.kv)]

    def run():
        passed[0] += 10**9 * SECONDS[made_for](longest[0])
        return inner.run()

    def refill(other):
        longest[0] = max(other.lengths.kv)
        if made_for != "stuck":
            inner.refill(other)

    return Prepared(run, refill=refill, frozen=f"made for {made_for} requests")
"""
FIXED = KERNEL.replace("mine.kernel", "mine.fixed").replace("refill=refill, ", "")


def test_a_run_over_a_file_of_lengths(autotune: Autotune) -> None:
    (autotune.root / "served.txt").write_text("50\n50\n50\n250\n")
    (autotune.root / "kernel.py").write_text(KERNEL)
    (autotune.root / "fixed.py").write_text(FIXED)
    done = autotune.tune(
        *("--op", "decode", "--batch", "2", "--lengths", "served.txt", "--rounds", "3", "--keep-noisy", "--no-cache"),
        *("--kernels", "kernel.py", "--kernels", "fixed.py", "--backend", "mine"),
    )
    assert done.code == 0, done.err
    (result,) = done.run.workloads
    assert result.key.startswith("attention.decode 2 x 50..250 lengths 50*3,250 eager ")
    by_name = {candidate.key: candidate for candidate in result.candidates}
    seconds = {"short": (47, 247), "long": (111, 161)}
    for name, (at_50, at_250) in seconds.items():
        candidate = by_name[f"mine.kernel(made_for={name})"]
        assert [case.case for case in candidate.evidence] == ["workload", "workload 50", "workload 250", "edges"]
        # Besides the real time that a call takes, which is none to speak of.
        assert len(candidate.points_us) == len(candidate.rounds) >= 3
        assert {(int(short / 1e6), int(long / 1e6)) for short, long in candidate.points_us} == {(at_50, at_250)}
        assert int((candidate.median_us or 0.0) / 1e6) == (3 * at_50 + at_250) // 4
        assert candidate.frozen == f"made for {name} requests"
    stuck = by_name["mine.kernel(made_for=stuck)"]
    assert (stuck.status, [case.case for case in stuck.evidence if not case.ok]) == ("incorrect", ["workload 50"])
    assert by_name["mine.fixed(made_for=long)"].status == "unsupported"
    # The default takes microseconds, and is the best at each length.
    assert result.choice is not None
    (workload,) = done.summary["workloads"]  # type: ignore[misc]
    assert [row["context"] for row in workload["lengths"]] == [50, 250]
