"""The plan as a page for a pull request."""

from __future__ import annotations

from autotune_cli.exporting.target import Exported, Material, Target
from autotune_cli.render.formats import Page
from autotune_cli.render.plan_formats import PlanView, plan_markdown


def _make(material: Material) -> Exported:
    return Exported({"plan.md": plan_markdown(PlanView(material.plan), Page(file=True))})


ABOUT = Target("the plan as a page for a pull request", _make, extension=".md", name="markdown")
