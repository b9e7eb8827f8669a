"""A run on the terminal: header, a row a workload, what was wrong, counts and the mean speed-ups."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from autotune_cli.render import baselines
from autotune_cli.render.candidates import candidates_view
from autotune_cli.render.constraints import constraint_lines
from autotune_cli.render.devices import by_device, how_measured
from autotune_cli.render.lengths import frozen_lines, lengths_view
from autotune_cli.render.plain_records import shown_record
from autotune_cli.render.run_header import header
from autotune_cli.render.run_totals import flashinfer_line, totals
from autotune_cli.render.run_warnings import warnings_of
from autotune_cli.render.traffic import table_of, traffic_lines, traffic_view
from autotune_cli.render.workloads import workloads_view
from autotune_cli.results.schema import RunFile, Traffic, WorkloadResult


def print_run(console: Console, run: RunFile, every_candidate: bool = False, baseline: str | None = None) -> None:
    """The whole result, device by device.

    ``baseline``: name of the one in the table; None: each workload's default.
    """
    run = shown_record(run)
    for number, (environment, results) in enumerate(by_device(run)):
        if number:
            console.print()
        for line in (*header(*how_measured(run, environment, results)), *baselines.lines(results, baseline)):
            console.print(line, style="dim", highlight=False, markup=False)
        console.print()
        if every_candidate:
            for result in results:
                console.print(candidates_view(result, console.width))
                console.print()
        console.print(workloads_view(results, baseline, console.width))
        _print_lengths(console, results)
        _print_traffic(console, run.traffic, results)
        for line in constraint_lines(results):
            console.print(Text(f"  {line}", style="dim"))
        _print_warnings(console, results)
        for line in totals(results):
            console.print(line, highlight=False, markup=False)
    tuner = flashinfer_line(run.flashinfer)
    if tuner is not None:
        console.print(tuner, highlight=False, markup=False)


def _print_lengths(console: Console, results: Sequence[WorkloadResult]) -> None:
    """Below the row of a workload of several lengths: each of them."""
    for result in results:
        view = lengths_view(result, console.width)
        if view is not None:
            console.print()
            console.print(view)
            for line in frozen_lines(result):
                console.print(Text(f"  {line}", style="dim"))
            console.print()


def _print_traffic(console: Console, traffic: Traffic | None, results: Sequence[WorkloadResult]) -> None:
    """What of a server's traffic the workloads stand for."""
    table = table_of(results)
    if traffic is None or not table.parts:
        return
    console.print()
    for line in traffic_lines(traffic):
        console.print(line, style="dim", highlight=False, markup=False)
    console.print(traffic_view(table, console.width))
    console.print()


def _print_warnings(console: Console, results: Sequence[WorkloadResult]) -> None:
    """In red: what was fast but wrong, and what can't be true."""
    for line in warnings_of(results):
        console.print(Text(f"  ! {line}", style="red"))
