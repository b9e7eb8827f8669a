"""Tables for people: coloured and as wide as a terminal, or plain text."""

from __future__ import annotations

from autotune_cli.render.formats.base import FormatInfo, later

ABOUT = FormatInfo(
    extension=".txt",
    rank=0,
    renderers={
        "run": later("run_formats", "run_table"),
        "diff": later("diff_formats", "diff_table"),
        "profile": later("profile_formats", "profile_table"),
        "listing": later("listing_formats", "listing_table"),
        "kernels": later("kernels_formats", "kernels_table"),
        "check": later("check_formats", "check_table"),
        "results": later("results_formats", "results_table"),
        "doctor": later("doctor_formats", "doctor_table"),
        "agree": later("agree_formats", "agree_table"),
        "verify": later("verify_formats", "verify_table"),
        "suite": later("suite_formats", "suite_table"),
        "plan": later("plan_formats", "plan_table"),
    },
)
