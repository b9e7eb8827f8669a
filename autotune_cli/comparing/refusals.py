"""What ``autotune diff`` refuses, apart from files it can't read (those are :class:`autotune_cli.errors.BadFile`)."""

from __future__ import annotations

from autotune_cli.errors import AutotuneError


class NoSuchSide(AutotuneError):
    """A side that is no file, no folder, no cache name and matches nothing."""

    template = "{side}: {text}: {detail}"


class MissingOption(AutotuneError):
    """Something optional is not installed."""

    template = "{what} needs {package}, which is not installed: {fix}"
