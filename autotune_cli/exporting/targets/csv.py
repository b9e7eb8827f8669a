"""The plan's workloads for a spreadsheet."""

from __future__ import annotations

from autotune_cli.exporting.target import Exported, Material, Target
from autotune_cli.render.formats import Page
from autotune_cli.render.plan_formats import PlanView, plan_csv


def _make(material: Material) -> Exported:
    return Exported({"plan.csv": plan_csv(PlanView(material.plan), Page(file=True))})


ABOUT = Target("the plan's workloads for a spreadsheet, a row each", _make, extension=".csv", name="csv")
