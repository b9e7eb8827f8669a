"""JSON for scripts; numbers that JSON doesn't have are null."""

from __future__ import annotations

from autotune_cli.render.formats.base import FormatInfo, later

ABOUT = FormatInfo(
    extension=".json",
    rank=20,
    renderers={
        "run": later("run_formats", "run_json"),
        "diff": later("diff_formats", "diff_json"),
        "profile": later("profile_formats", "profile_json"),
        "listing": later("listing_formats", "listing_json"),
        "kernels": later("kernels_formats", "kernels_json"),
        "check": later("check_formats", "check_json"),
        "results": later("results_formats", "results_json"),
        "doctor": later("doctor_formats", "doctor_json"),
        "agree": later("agree_formats", "agree_json"),
        "verify": later("verify_formats", "verify_json"),
        "suite": later("suite_formats", "suite_json"),
        "plan": later("plan_formats", "plan_json"),
    },
)
