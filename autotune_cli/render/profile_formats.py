"""A profile with a verdict in each format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune_cli.profiling.findings import ProfileVerdict
from autotune_cli.render.formats import Page


@dataclass(frozen=True)
class ProfileView:
    """A verdict, and what the self-check tried."""

    verdict: ProfileVerdict
    checked: Sequence[str] = ()


def profile_table(view: ProfileView, page: Page) -> str:
    from autotune_cli.render.console import drawn
    from autotune_cli.render.profile_table import print_profile

    return drawn(lambda console: print_profile(console, view.verdict, view.checked), page)


def profile_markdown(view: ProfileView, page: Page) -> str:
    from autotune_cli.render.profile_files import profile_markdown as document

    return document(view.verdict, view.checked).rstrip() + "\n"


def profile_json(view: ProfileView, page: Page) -> str:
    from autotune_cli.render.profile_files import profile_json_text

    return profile_json_text(view.verdict, view.checked, page.ascii_only) + "\n"


def profile_csv(view: ProfileView, page: Page) -> str:
    from autotune_cli.render.kernel_rows import kernel_rows

    return kernel_rows((judged.phase, judged.state) for judged in view.verdict.phases)
