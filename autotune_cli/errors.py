"""One class per failure a user can meet: its message template and its exit code (README: exit codes)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Self

from autotune_cli.fields import Field, Naming, written
from autotune_cli.plain_text import shown

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_COMPARABLE = 3
EXIT_INCOMPLETE = 4
EXIT_INTERNAL = 70
"""A fault of the program itself: sysexits.h's EX_SOFTWARE."""
EXIT_INTERRUPTED = 130
"""Ctrl-C, in the numbers of shells: 128 and SIGINT's."""


class AutotuneError(Exception):
    """A failure with a clear line for the user. Subclasses set ``template`` and ``exit_code``.

    It stays one line without control characters whatever names and texts of others are in it. Fields of a request are
    in it by their names (:mod:`autotune_cli.fields`) until a command names its options instead.
    """

    template = "{detail}"
    exit_code = EXIT_USAGE

    def __init__(self, **values: object) -> None:
        self.values = values
        super().__init__(shown(written(self.template, values, str)))

    def __reduce__(self) -> tuple[Any, ...]:
        # By its line, not by a call of __init__, which takes other arguments: pools of processes pickle what is raised.
        return _with_line, (type(self), *self.args), self.__dict__

    def naming(self, naming: Naming) -> Self:
        """The same error, whose line names fields so."""
        self.args = (shown(written(self.template, self.values, naming)),)
        return self


def _with_line(kind: type[AutotuneError], *args: object) -> AutotuneError:
    """An error of which only the line is known so far."""
    return kind.__new__(kind, *args)


# More names than these are not told in one breath.
_MOST_NAMES = 30
# Of so many as are not told, this many that are close.
_CLOSE = 3
# Characters. Folders of Hugging Face's caches have the longest names.
_LONGEST_NAME = 200


def nearest(name: str, known: Iterable[str], most: int = 1) -> str:
    """``; did you mean 'x'?`` for the closest known names, or the empty string."""
    lowered = {each.lower(): each for each in known}
    matches = difflib.get_close_matches(name.lower(), list(lowered), n=most, cutoff=0.4)
    *others, last = [repr(lowered[match]) for match in matches] or [""]
    listed = f"{', '.join(others)} or {last}" if others else last
    return f"; did you mean {listed}?" if listed else ""


class BadField(AutotuneError):
    """A field of a request whose value makes no sense."""

    template = "{field}: {detail}"

    def __init__(self, field: str | Field, detail: str) -> None:
        super().__init__(field=Field(field) if isinstance(field, str) else field, detail=detail)


class BadVariable(AutotuneError):
    """An environment variable whose value makes no sense."""

    template = "{variable}={value!r} {detail}"


class UnknownName(AutotuneError):
    """A model, operation, backend, timer ... that doesn't exist."""

    template = "unknown {what} {name!r}{hint} (known: {known})"

    def __init__(self, what: str, name: str, known: Iterable[str], lister: str = "", few: Iterable[str] = ()) -> None:
        """Of many names the closest are told, and how many there are.

        Args:
            lister: the command that lists all of them.
            few: those that stand for them.
        """
        names = list(known)
        is_short = len(names) <= _MOST_NAMES
        listed = names if is_short else list(few) or names[:_MOST_NAMES]
        more = f"{len(names) - len(listed)} more{f' that {lister!r} lists' if lister else ''}"
        super().__init__(
            what=what,
            name=name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}...",
            known=", ".join(listed) + ("" if is_short else f" and {more}"),
            hint=nearest(name, names, 1 if is_short else _CLOSE),
        )


class BadGeometry(AutotuneError):
    """Head counts that don't divide, sizes that are negative or zero."""

    template = "{where}: {detail}"


class BadConfig(AutotuneError):
    """A Hugging Face config.json that can't be read as an attention geometry."""

    template = "{path}: {detail}"


class BadName(AutotuneError):
    """A result name that would leave its folder."""

    template = "{fields.name} {name!r}: {detail}"


class EmptySuite(AutotuneError):
    """Filters that leave no workload."""

    template = "no workload is left: {detail}"


class NoMemory(AutotuneError):
    """A workload larger than the device."""

    template = (
        "{workload} needs about {needed_gb:.1f} GB, {device} has {available_gb:.1f} GB; "
        "narrow it with {fields.batch} or {fields.context}"
    )


class NoDevice(AutotuneError):
    """A GPU was asked for and there is none, or not that one."""

    template = "{detail}"


class BadKernels(AutotuneError):
    """A file with a user's kernels that can't be loaded."""

    template = "{fields.kernels} {path}: {detail}"


class SlowBuild(AutotuneError):
    """The environment makes kernels slow that are fast in production."""

    template = "{variable}={value} {effect}, so times would mean nothing: unset {variable}{also}"


class BadFile(AutotuneError):
    """A result file that can't be used."""

    template = "{path}: {detail}"


class NewerSchema(BadFile):
    """A result file written by a newer version of this program."""

    template = (
        "{path}: schema version {found} is newer than {known}, the newest this version reads; upgrade kernel-autotune"
    )


class CannotWrite(AutotuneError):
    """A full disk, a read-only folder ..."""

    template = "can't write {path}: {detail}"
    exit_code = EXIT_INCOMPLETE


class NothingToResume(AutotuneError):
    """A run is to be resumed, and no journal fits."""

    template = "nothing to resume: {detail}"


class NoTorch(AutotuneError):
    """A command that runs kernels, in an installation without torch."""

    template = "running kernels needs torch, which is not installed; get it: {fix}"


class MissingPackage(AutotuneError):
    """Something for which a package is needed that an extra brings."""

    template = "{what} needs {package}, which is not installed; get it: {fix}"


class BadServer(AutotuneError):
    """A server that doesn't speak OpenAI's API, or not so; it may be the wrong address, model or key."""

    template = "{side} {address} {detail}"


class ServerFailed(BadServer):
    """A server that can't be reached, drops the connection, hangs or tells a fault of its own."""

    exit_code = EXIT_INCOMPLETE


class LostWorker(AutotuneError):
    """The worker process ends or hangs where no candidate can be blamed."""

    template = "the worker process, {what}: {detail}"
    exit_code = EXIT_INCOMPLETE


class BudgetTooSmall(AutotuneError):
    """A budget that starting and planning have spent before anything could be measured."""

    template = "{fields.budget} {budget_s:g}s is too small: {detail}"
    exit_code = EXIT_INCOMPLETE


class NoWorker(AutotuneError):
    """The worker process doesn't even start."""

    template = "the worker process does not start: {detail}"
    exit_code = EXIT_INCOMPLETE


class NoCluster(AutotuneError):
    """A Ray cluster that isn't there or can't be joined."""

    template = "no Ray cluster at {address}: {detail}"


class OtherProgram(AutotuneError):
    """A node of a cluster with another version of this program, or none."""

    template = "kernel-autotune is {ours} here and {theirs} on {node}; install the same on every node"


class NoNode(AutotuneError):
    """No node of a cluster can measure, or none any more."""

    template = "no worker of the cluster is left: {detail}"
    exit_code = EXIT_INCOMPLETE
