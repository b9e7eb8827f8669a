"""A profile as Markdown (for a pull request) and as JSON (for scripts)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from autotune_cli.plain_text import json_text, markdown, markdown_block, markdown_code
from autotune_cli.profiling.findings import ProfileVerdict
from autotune_cli.render.profile_words import advice, header, is_undecided, problems, remarks, rows, sentence


def profile_markdown(verdict: ProfileVerdict, checked: Sequence[str] = ()) -> str:
    """The verdict, a table and what is wrong."""
    lines = [f"**{markdown(sentence(verdict))}**", "", markdown(header(verdict), begins=True), ""]
    lines += ["| phase | verdict | family | launches | time us | kernels |", "|---|---|---|--:|--:|---|"]
    for row in rows(verdict):
        cells = [markdown(cell) for cell in (row.phase, row.verdict, row.family, str(row.launches), row.time_us)]
        lines.append(f"| {' | '.join([*cells, markdown_code(row.kernels, in_table=True)])} |")
    found = [f"{title}: {problem.text}" if title else problem.text for title, problem in problems(verdict)]
    found = [f"- {markdown(line, begins=True)}" for line in found]
    notes = [f"- {markdown(line, begins=True)}" for line in remarks(verdict)]
    checks = [f"- self-check: {markdown(line)}" for line in checked]
    for block in (found, notes, checks):
        lines += ["", *block] if block else []
    how, pastes = advice(verdict)
    if pastes:
        lines += ["", f"{markdown(how[0].upper() + how[1:])}:", ""]
        lines += markdown_block(pastes, "toml")
    return "\n".join(lines) + "\n"


def profile_json(verdict: ProfileVerdict, checked: Sequence[str] = ()) -> dict[str, Any]:
    """Everything the verdict rests on. Times are microseconds."""
    return {
        "verdict": {0: "pass", 1: "fail", 4: "not run"}.get(
            verdict.exit_code, "undecided" if is_undecided(verdict) else "nothing to judge"
        ),
        "exit_code": verdict.exit_code,
        "sentence": sentence(verdict),
        "source": verdict.recording.source,
        "devices": list(verdict.recording.devices),
        "notes": list(verdict.recording.notes),
        "expectation": asdict(verdict.expectation),
        "phases": [
            {
                "name": judged.phase.name,
                "where": judged.phase.where,
                "state": judged.state,
                "demand": judged.phase.demand,
                "families": {
                    family: {"launches": launches, "us": round(us, 3)}
                    for family, (launches, us) in judged.phase.families().items()
                },
                "kernels": [asdict(use) for use in judged.phase.kernels],
                "captured_launches": judged.phase.captured,
                "graph_launches": judged.phase.graph_launches,
                "graph_launches_without_kernels": judged.phase.empty_graph_launches,
                "launches_without_kernels": judged.phase.lost_launches,
                "host_synchronisations": judged.phase.waits,
                "device_to_host_copies": judged.phase.copies_to_host,
                "launch_calls_us": round(judged.phase.launch_us, 3),
                "plan": asdict(judged.phase.plan) if judged.phase.plan else None,
                "expected": verdict.expectation.of(judged.phase.name),
                "remark": judged.remark,
                "facts": list(judged.phase.facts),
                "problems": [asdict(problem) for problem in judged.problems],
            }
            for judged in verdict.phases
        ],
        "problems": [asdict(problem) for problem in verdict.problems],
        "self_check": list(checked),
    }


def profile_json_text(verdict: ProfileVerdict, checked: Sequence[str] = (), ascii_only: bool = False) -> str:
    return json_text(profile_json(verdict, checked), ascii_only)
