"""CSV for spreadsheets: a row a candidate, kernel or backend; no cell is a formula."""

from __future__ import annotations

from autotune_cli.render.formats.base import FormatInfo, later

ABOUT = FormatInfo(
    extension=".csv",
    rank=30,
    renderers={
        "run": later("run_formats", "run_csv"),
        "diff": later("diff_formats", "diff_csv"),
        "profile": later("profile_formats", "profile_csv"),
        "listing": later("listing_formats", "listing_csv"),
        "kernels": later("kernels_formats", "kernels_csv"),
        "check": later("check_formats", "check_csv"),
        "results": later("results_formats", "results_csv"),
        "doctor": later("doctor_formats", "doctor_csv"),
        "agree": later("agree_formats", "agree_csv"),
        "verify": later("verify_formats", "verify_csv"),
        "suite": later("suite_formats", "suite_csv"),
        "plan": later("plan_formats", "plan_csv"),
    },
)
