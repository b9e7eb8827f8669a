"""What ``autotune profile`` is to expect: from the options and the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping

from autotune_cli.commands.options.profile import ProfileOptions
from autotune_cli.errors import BadField
from autotune_cli.profiling.families import PathShape
from autotune_cli.profiling.findings import Expectation
from autotune_cli.profiling.patterns import BadPattern, compile_pattern, quoted
from autotune_cli.sglang.resolve import forced_paged, parse_mode, resolve

DEFAULT_MODE = "extend"


def says_what_to_expect(options: ProfileOptions, environ: Mapping[str, str]) -> bool:
    """Is a trace to be judged? By an option or by SGLang's variable; without either it is listed."""
    given = any(value is not None for value in (options.paged, options.prefix, options.mode, options.preset))
    return given or bool(options.expect or options.forbid) or forced_paged(None, environ).source != "default"


def expectation(options: ProfileOptions) -> tuple[Expectation, str | None]:
    """What to expect of a trace, and a warning about the environment.

    Raises:
        AutotuneError: an unknown mode, a pattern that is no regular expression.
    """
    expects, forbids = patterns(options)
    toggle = forced_paged(options.paged, os.environ)
    mode = parse_mode(DEFAULT_MODE if options.mode is None else options.mode)
    path = resolve(mode, forced_paged=toggle.on, prefix=options.prefix is not False)
    shape: PathShape
    if toggle.source == "default" and (expects or forbids):
        shape = "any"
    elif path.planned != "ragged":
        shape = "paged"
    elif options.prefix is None:
        shape = "ragged or pair"
    else:
        shape = "pair" if options.prefix else "ragged"
    return Expectation(shape, expects, forbids), toggle.warning


def patterns(options: ProfileOptions) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names that must fire, and names that must not.

    Raises:
        BadField: empty, or no regular expression.
    """
    expects, forbids = tuple(options.expect or ()), tuple(options.forbid or ())
    for field, texts in (("expect", expects), ("forbid", forbids)):
        for text in texts:
            if not text:
                # It would fit every name: an unset variable of a script, and a check that can't fail.
                raise BadField(field, "is empty")
            try:
                compile_pattern(text)
            except BadPattern as error:
                raise BadField(field, f"{quoted(text)} {error}") from None
    return expects, forbids
