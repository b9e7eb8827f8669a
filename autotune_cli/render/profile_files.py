"""A profile as Markdown (for a pull request) and as JSON (for scripts)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from autotune_cli.profiling.verdict import Verdict
from autotune_cli.render.profile_words import header, problems, remarks, rows, sentence


def profile_markdown(verdict: Verdict, checked: Sequence[str] = ()) -> str:
    """The verdict, a table and what is wrong."""
    lines = [f"**{_plain(sentence(verdict))}**", "", _plain(header(verdict)), ""]
    lines += ["| phase | verdict | family | launches | time us | kernels |", "|---|---|---|--:|--:|---|"]
    for row in rows(verdict):
        kernels = f"`{row.kernels}`" if row.kernels else ""
        cells = (row.phase, row.verdict, row.family, str(row.launches), row.time_us, kernels)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    found = [f"- {f'{title}: ' if title else ''}{_plain(problem.text)}" for title, problem in problems(verdict)]
    notes = [f"- {_plain(line)}" for line in remarks(verdict)]
    checks = [f"- self-check: {line}" for line in checked]
    for block in (found, notes, checks):
        lines += ["", *block] if block else []
    pastes = list(dict.fromkeys(problem.paste for _, problem in problems(verdict) if problem.paste))
    if pastes:
        lines += ["", "Lines for a file for `--rules`, if these kernels are no attention:", "", "```toml"]
        lines += [*pastes, "```"]
    return "\n".join(lines) + "\n"


def profile_json(verdict: Verdict, checked: Sequence[str] = ()) -> dict[str, Any]:
    """Everything the verdict rests on. Times are microseconds."""
    return {
        "verdict": {0: "pass", 1: "fail", 4: "not run"}.get(verdict.exit_code, "nothing to judge"),
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


def profile_json_text(verdict: Verdict, checked: Sequence[str] = ()) -> str:
    return json.dumps(profile_json(verdict, checked), indent=1, ensure_ascii=False)


def _plain(text: str) -> str:
    """Template arguments must not be read as HTML."""
    return text.replace("<", "&lt;").replace("*", chr(92) + "*")
