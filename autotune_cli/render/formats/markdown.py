"""GitHub's Markdown, for pull requests and issues; nothing in a result is markup of it."""

from __future__ import annotations

from autotune_cli.render.formats.base import FormatInfo, later

ABOUT = FormatInfo(
    extension=".md",
    rank=10,
    renderers={
        "run": later("run_formats", "run_markdown"),
        "diff": later("diff_formats", "diff_markdown"),
        "profile": later("profile_formats", "profile_markdown"),
        "listing": later("listing_formats", "listing_markdown"),
        "kernels": later("kernels_formats", "kernels_markdown"),
        "check": later("check_formats", "check_markdown"),
        "results": later("results_formats", "results_markdown"),
        "doctor": later("doctor_formats", "doctor_markdown"),
        "agree": later("agree_formats", "agree_markdown"),
        "verify": later("verify_formats", "verify_markdown"),
        "suite": later("suite_formats", "suite_markdown"),
        "plan": later("plan_formats", "plan_markdown"),
    },
)
