"""``autotune profile``: did the selected kernels fire? Of a trace, or of a path that is run here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from autotune_cli.commands.options.profile import ProfileOptions

EXAMPLES = """
autotune profile --paged --model llama-3.1-8b --mode decode
autotune profile --from-trace example --paged
"""


def profile(options: ProfileOptions) -> None:
    """Prove that only the attention kernels you selected fire, phase by phase: run a path here, or judge a trace.

    Exit code: 0 they did, 1 a kernel fired that must not (or one is missing), 2 bad usage or input, 3 nothing to judge,
    4 it could not be run, 70 a fault of the program itself, 130 Ctrl-C.
    """
    from autotune_cli.commands.flags import verdict_with_flags
    from autotune_cli.commands.printing import READ, check_format, check_no_input, check_writable, write_result
    from autotune_cli.commands.profile_expected import says_what_to_expect
    from autotune_cli.commands.profile_trace import judge_trace, list_trace
    from autotune_cli.render.listing_formats import ListingView
    from autotune_cli.render.profile_formats import ProfileView
    from autotune_cli.render.profile_words import sentence

    _check(options)
    judged = options.from_trace is None or says_what_to_expect(options, os.environ)
    check_format("profile" if judged else "listing", options.format, options.output)
    check_writable(options.output)
    read = (options.from_trace, *(options.rules or ()), *(options.kernels or ()), options.config)
    check_no_input(options.output, *read, what=READ)
    if not judged:
        listing = ListingView(*list_trace(options))
        write_result("listing", options.format, listing, options.output, f"exit {listing.exit_code}")
        raise typer.Exit(listing.exit_code)
    if options.from_trace is not None:
        verdict, checked = judge_trace(options)
    else:
        from autotune_cli.commands.profile_live import run_live

        verdict, checked = run_live(options)
    verdict = verdict_with_flags(verdict)
    told = f"exit {verdict.exit_code}: {sentence(verdict)}"
    write_result("profile", options.format, ProfileView(verdict, checked), options.output, told)
    raise typer.Exit(verdict.exit_code)


def _check(options: ProfileOptions) -> None:
    """Do the options go with each other?

    Raises:
        BadField: one is of a trace and no trace is given, or of running a path and one is; a trace without a name.
    """
    from autotune_cli.commands.declaring import in_panel
    from autotune_cli.commands.options.profile import LIVE, ProfileOptions
    from autotune_cli.errors import BadField

    if options.from_trace == "":
        raise BadField("from_trace", "is empty")
    refused: tuple[str, ...] = ("range", "rank", "preset")
    why = "goes with --from-trace"
    if options.from_trace is not None:
        refused, why = in_panel(ProfileOptions, LIVE), "goes with running a path, not with --from-trace"
    for name in refused:
        # Zero and empty text are given too.
        if getattr(options, name) is not None and getattr(options, name) is not False:
            raise BadField(name, why)
