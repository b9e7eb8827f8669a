"""``autotune plan``: one server for all workloads of a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune_cli.commands.options.plan import PlanOptions

EXAMPLES = """
autotune plan gpt-oss-120b --step-ms 21
autotune plan llama-3.1-8b --device h200 --pin page_size=64
"""


def plan(options: PlanOptions) -> None:
    """Choose one server's settings for all workloads of a result: page size, backends, top-k. Needs no GPU.

    Exit code: 0 fine, 2 bad usage or input, 3 nothing that the engine runs was measured, 4 the output could not be
    written, 70 a fault of the program itself, 130 Ctrl-C.
    """
    from autotune_cli.commands.planned import request_of, run_of
    from autotune_cli.commands.printing import READ, check_format, check_no_input, check_writable, write_result
    from autotune_cli.planning.plan import plan_of
    from autotune_cli.render.plan_formats import PlanView

    check_writable(options.output)
    check_format("plan", options.format, options.output)
    check_no_input(options.output, *(options.step_trace or ()), options.traffic_weights, what=READ)
    run = run_of(options.file, options.root, options.name, options.device, options.output)
    view = PlanView(plan_of(run, request_of(options)), options.every)
    write_result("plan", options.format, view, options.output)
