"""A profile without a verdict in each format: what fired."""

from __future__ import annotations

from dataclasses import dataclass

from autotune_cli.profiling.phases import Recording
from autotune_cli.render import profile_listing
from autotune_cli.render.console import drawn
from autotune_cli.render.formats import Page
from autotune_cli.render.kernel_rows import kernel_rows


@dataclass(frozen=True)
class ListingView:
    """What was recorded, and the exit code that it means."""

    recording: Recording
    exit_code: int


def listing_table(view: ListingView, page: Page) -> str:
    return drawn(lambda console: profile_listing.print_listing(console, view.recording), page)


def listing_markdown(view: ListingView, page: Page) -> str:
    return profile_listing.listing_markdown(view.recording).rstrip() + "\n"


def listing_json(view: ListingView, page: Page) -> str:
    return profile_listing.listing_json(view.recording, view.exit_code, page.ascii_only) + "\n"


def listing_csv(view: ListingView, page: Page) -> str:
    return kernel_rows((phase, "listed") for phase in view.recording.phases)
