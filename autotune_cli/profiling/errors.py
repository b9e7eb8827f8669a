"""Failures of ``autotune profile`` that a user can meet."""

from __future__ import annotations

from autotune_cli.errors import EXIT_INCOMPLETE, EXIT_NOT_COMPARABLE, AutotuneError


class BadTrace(AutotuneError):
    """A file that is no trace, or one that can't be trusted."""

    template = "{path}: {detail}"


class BadRules(AutotuneError):
    """A rules file that can't be used."""

    template = "rules file {path}: {detail}"


class CannotRun(AutotuneError):
    """A path can't be run on this machine, or not by this version."""

    template = (
        "{detail}; {fields.from_trace} FILE judges a recorded trace ({fields.from_trace} example: one that comes along)"
    )
    exit_code = EXIT_INCOMPLETE


class PathFailed(AutotuneError):
    """The path was begun, and its process didn't come to an end."""

    exit_code = EXIT_INCOMPLETE


class NothingToRun(AutotuneError):
    """What was asked for runs no attention."""

    exit_code = EXIT_NOT_COMPARABLE
