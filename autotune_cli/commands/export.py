"""``autotune export``: a plan as what an engine loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from autotune_cli.commands.options.export import ExportOptions
    from autotune_cli.exporting.target import Exported, Target

EXAMPLES = """
autotune export gpt-oss-120b --to sglang -o serve.sh
autotune export llama-3.1-8b --device h100 --to lightllm -o lightllm
"""


def export(options: ExportOptions) -> None:
    """Write what 'autotune plan' chose as launch flags, or as files that an engine loads. Needs no GPU.

    Exit code: 0 fine, 2 bad usage or input, 3 nothing that the target takes was measured, 4 the output could not be
    written, 70 a fault of the program itself, 130 Ctrl-C.
    """
    from autotune_cli.commands.planned import request_of, run_of
    from autotune_cli.commands.printing import READ, check_no_input
    from autotune_cli.exporting.target import Material, find_target
    from autotune_cli.render.console import Console

    target = find_target(options.to)
    _check(target, options.output)
    check_no_input(options.output, *(options.step_trace or ()), options.traffic_weights, what=READ)
    run = run_of(options.file, options.root, options.name, options.device, options.output)
    exported = target.make(Material(run, request_of(options, target.engine)))
    _write(target, exported, options.output)
    errors = Console(stderr=True)
    for note in (*exported.notes, *_others(target, exported, options.output)):
        errors.say(f"note: {note}")


def _check(target: Target, output: Path | None) -> None:
    """Can the target be made and written? Asked before anything is read.

    Raises:
        BadField: a folder or a binary file, and nowhere to write it; a folder where a file is meant, or the other way.
        MissingPackage: the target needs a package that is not installed. CannotWrite: no writing there.
    """
    from autotune_cli.commands.printing import check_writable
    from autotune_cli.errors import BadField
    from autotune_cli.fields import Message
    from autotune_cli.render.formats import check_packages

    check_packages("to", target.name, target.needs, target.fix)
    if output is None:
        if target.is_folder or target.binary:
            kind = "folder" if target.is_folder else "file"
            text = "{name} is {what}: say {fields.output} {kind}"
            what = "several files" if target.is_folder else "binary"
            raise BadField("to", Message(text, name=target.name, what=what, kind=kind.upper()))
        return
    if target.is_folder:
        if output.exists() and not output.is_dir():
            raise BadField("output", f"{target.name} is several files, and {output} is no folder")
        return
    check_writable(output)


def _write(target: Target, exported: Exported, output: Path | None) -> None:
    """To the terminal, or each file whole or not at all.

    Raises:
        CannotWrite: a full disk, a read-only folder ...
    """
    import sys

    from autotune_cli.plain_text import shown
    from autotune_cli.results.atomic import write_atomic

    if output is None:
        (text,) = exported.files.values()
        print(text, end="", flush=True)
        return
    for name, content in exported.files.items():
        path = output / name if target.is_folder else output
        write_atomic(path, content, target.is_program)
        print(shown(f"wrote {path}"), file=sys.stderr)


def _others(target: Target, exported: Exported, output: Path | None) -> list[str]:
    """What an earlier export has left beside the files of this one: it is loaded with them."""
    if output is None or not target.is_folder:
        return []
    written = {output / name for name in exported.files}
    there = {path for folder in {path.parent for path in written} for path in folder.iterdir() if path.is_file()}
    left = sorted(there - written)
    if not left:
        return []
    more = f" and {len(left) - 1} more" if len(left) > 1 else ""
    return [f"was there before, and is loaded too: {left[0]}{more}"]
