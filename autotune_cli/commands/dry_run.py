"""``autotune tune --dry-run``: the workloads, and what they stand for."""

from __future__ import annotations

import os

from autotune_cli.commands.baselines import chosen_baselines
from autotune_cli.commands.devices import DeviceKind, choose_device, visible_gpus
from autotune_cli.commands.options.tune import TuneOptions
from autotune_cli.commands.printing import write_result
from autotune_cli.commands.tune_request import chosen_suite, required_properties, say_note
from autotune_cli.render.console import Console
from autotune_cli.render.suite_formats import SuiteView


def dry_run(options: TuneOptions, format_name: str, errors: Console) -> None:
    """Print what would be tuned.

    Raises:
        AutotuneError: something in the options makes no sense here.
    """
    # A GPU's suite may be looked at where there is none.
    is_elsewhere = options.device == "cuda" and not visible_gpus()
    kind: DeviceKind
    gpus: tuple[str | None, ...]
    kind, gpus = ("cuda", (None,)) if is_elsewhere else choose_device(options.device, options.gpus)
    chosen = chosen_suite(options, kind, gpus[0])
    # Refused here as they are when it is meant.
    required_properties(options, chosen.suite.workloads)
    chosen_baselines(options.engine, options.baseline, kind, os.environ)
    for note in chosen.notes:
        say_note(errors, note)
    found = chosen.served
    view = SuiteView(
        name=chosen.suite.name,
        device_kind=kind,
        workloads=chosen.suite.workloads,
        traffic=None if found is None else found.traffic,
        stands_for={} if found is None else found.weighted.stands_for,
        spread=None if found is None else found.weighted.spread,
    )
    write_result("suite", format_name, view, options.output)
