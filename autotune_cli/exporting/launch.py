"""A plan as a shell script that starts the server: a line a setting, with what it gains and what it costs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from autotune_cli.exporting.target import Exported, Material
from autotune_cli.plain_text import shown
from autotune_cli.planning.records import Plan, Setting
from autotune_cli.planning.server import load_server
from autotune_cli.render import plan_words as words

_MODEL = '"${MODEL:?set MODEL to the model to serve}"'


def script(material: Material) -> Exported:
    """The script of the planned server. Whatever is typed behind its name goes to the server too."""
    return Exported({"serve.sh": "\n".join(_lines(material.plan)) + "\n"})


def arguments(plan: Plan) -> list[tuple[str, str]]:
    """Words on the command line with why they are there: what was tuned for, then what the plan tells."""
    server = load_server(plan.engine)
    found: list[tuple[str, str]] = []
    if plan.tp > 1:
        found.append((server.parallel.format(tp=plan.tp), "as it was tuned for"))
    types = {str(row.result.workload.situation.get("kv_dtype", "")) for row in plan.rows}
    found += [(server.cache_dtypes[name], "as it was tuned for") for name in sorted(types & server.cache_dtypes.keys())]
    return found + [(setting.typed, _gained(setting)) for setting in plan.settings if not setting.variable]


def variables(plan: Plan) -> list[tuple[str, str]]:
    """Environment variables, ``NAME=value``, with why they are there."""
    return [(setting.typed, _gained(setting)) for setting in plan.settings if setting.variable]


def _lines(plan: Plan) -> Iterator[str]:
    server = load_server(plan.engine)
    yield "#!/usr/bin/env bash"
    yield from _comments(words.heading(plan))
    yield from _comments(words.outcome(plan))
    yield from _comments(words.step_lines(plan))
    if not plan.settings:
        yield from _comments(words.told(plan))
    yield "set -e"
    for text, why in variables(plan):
        yield f"export {shlex.quote(text)}  # {shown(why)}"
    yield "flags=("
    for text, why in arguments(plan):
        yield f"  {text}  # {shown(why)}"
    yield ")"
    model = shlex.quote(plan.repository) if plan.repository else _MODEL
    yield f'exec {server.launch.format(model=model)} "${{flags[@]}}" "$@"'
    yield ""
    yield from _comments(words.untold(plan))
    yield from _comments(words.doubts(plan))


def _gained(setting: Setting) -> str:
    gained = setting.without if setting.gain is None else f"{words.ratio(setting.gain)} with it"
    return f"{gained}{words.costs(setting)}"


def _comments(lines: list[str]) -> Iterator[str]:
    yield from (f"# {shown(line)}" for line in lines)
