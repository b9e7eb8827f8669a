"""A result in the format that was asked for, to the terminal or to a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from autotune_cli.errors import BadField, CannotWrite
from autotune_cli.fields import Message
from autotune_cli.plain_text import shown
from autotune_cli.render.formats import Page, find_format
from autotune_cli.streams import stdout_is_unicode

READ = "a file that this command reads"
"""What a file may be that an output must not replace; see :func:`check_no_input`."""


def write_result(kind: str, name: str, view: Any, output: Path | None, outcome: str = "") -> None:
    """Print a result, or write it to a file and say so on stderr.

    Args:
        kind: of result, see :mod:`autotune_cli.render.formats`.
        name: of the format.
        view: what that kind's formats take.
        output: the file; None: stdout.
        outcome: what is said beside the file's name, such as what the exit code means.

    Raises:
        UnknownName, MissingPackage, BadField: see :func:`check_format`.
        CannotWrite: a full disk, a read-only folder ...
    """
    check_format(kind, name, output)
    render = find_format(kind, name).render
    if output is None:
        print(render(view, Page(ascii_only=not stdout_is_unicode())), end="", flush=True)
        return
    from autotune_cli.results.atomic import write_atomic

    write_atomic(output, render(view, Page(file=True)))
    print(shown(f"wrote {output}{f'; {outcome}' if outcome else ''}"), file=sys.stderr)


def check_format(kind: str, name: str, output: Path | None) -> None:
    """Can a result of this kind be printed, or written to that file, in the format?

    Raises:
        UnknownName: results of this kind have no such format.
        MissingPackage: the format needs a package that is not installed.
        BadField: a binary format, and no file.
    """
    form = find_format(kind, name)
    if form.about.binary and output is None:
        text = "{name} is binary, so it goes to a file: say {fields.output} FILE{extension}"
        raise BadField("format", Message(text, name=name, extension=form.about.extension))
    form.check_packages()


def check_writable(path: Path | None) -> None:
    """Can a file be written there? Asked before anything is run; missing folders are made later.

    Raises:
        CannotWrite: no.
    """
    if path is None:
        return
    try:
        if path.is_dir():
            raise CannotWrite(path=path, detail="is a folder")
        if path.exists() and not path.is_file():
            raise CannotWrite(path=path, detail="not a regular file")
        there = path if path.exists() else next(folder for folder in path.absolute().parents if folder.exists())
        can_write = os.access(there, os.W_OK) and (there == path or there.is_dir())
    except OSError as error:
        raise CannotWrite(path=path, detail=(error.strerror or str(error)).lower()) from None
    if not can_write:
        raise CannotWrite(path=path, detail=f"no writing to {there}")


def check_no_input(
    output: Path | None, *inputs: str | Path | None, field: str = "output", what: str = "the result itself"
) -> None:
    """Is the file that is to be written one that is read? A result took GPU minutes, and would be lost.

    Args:
        inputs: None: an option that was not given.
        field: the option that names the file.
        what: what the inputs are.

    Raises:
        BadField: it is.
    """
    if output is None:
        return
    for path in inputs:
        try:
            same = path is not None and output.samefile(path)
        except (OSError, ValueError):  # not there; a name with a zero byte
            continue
        if same:
            raise BadField(field, f"{output} is {what}, and would be replaced")
