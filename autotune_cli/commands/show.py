"""``autotune show``: print a result file again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune_cli.commands.options.show import ShowOptions

EXAMPLES = """
autotune show llama-3.1-8b
autotune show cache/llama-3.1-8b.json --device h200 --all
"""


def show(options: ShowOptions) -> None:
    """Print a result file as 'autotune tune' did. Needs no GPU.

    Exit code: 0 fine, 2 bad usage or input, 4 the output could not be written, 70 a fault of the program itself,
    130 Ctrl-C.
    """
    from rich.text import Text

    from autotune_cli.commands.printing import check_format, check_no_input, check_writable, write_result
    from autotune_cli.errors import UnknownName
    from autotune_cli.plain_text import shown
    from autotune_cli.render.baselines import names
    from autotune_cli.render.console import Console
    from autotune_cli.render.devices import of_device
    from autotune_cli.render.formats import Page
    from autotune_cli.render.plain_records import shown_record
    from autotune_cli.render.run_formats import RunView, run_svg
    from autotune_cli.results.atomic import write_atomic
    from autotune_cli.results.files import read_run
    from autotune_cli.results.integrity import doubts
    from autotune_cli.results.naming import find_one

    check_format("run", options.format, options.output)
    check_writable(options.output)
    check_writable(options.svg)
    path = find_one(options.file, options.root, options.name)
    check_no_input(options.output, path)
    check_no_input(options.svg, path, field="svg")
    run = read_run(path)
    errors = Console(stderr=True)
    for line in doubts(run):
        # On a terminal folded at spaces; in a file or a pipe a line stays whole.
        note = Text(f"note: {shown(str(path))}: {shown(line)}", style="yellow")
        errors.print(note, soft_wrap=not errors.is_terminal)
    if options.device is not None:
        run = of_device(run, options.device)
    baseline = options.baseline
    if baseline is not None:
        # As it is shown in the table.
        known = names(shown_record(run).workloads)
        baseline = " ".join(baseline.split())
        if baseline not in known:
            raise UnknownName("baseline of this file", baseline, known)
    view = RunView(path, run, options.every, baseline)
    write_result("run", options.format, view, options.output)
    if options.svg is not None:
        write_atomic(options.svg, run_svg(view, Page(file=True)))
