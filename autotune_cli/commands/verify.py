"""``autotune verify``: is a change there, on two running servers?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from autotune_cli.commands.options.verify import VerifyOptions

EXAMPLES = """
autotune verify --base http://gpu1:30000 --new http://gpu2:30000
autotune verify --base http://a:8000 --new http://b:8000 --expect 3%
"""


def verify(options: VerifyOptions) -> None:
    """Measure two running servers in interleaved pairs, and say whether a change is there beyond their noise.

    They speak OpenAI's API, as SGLang and vLLM do, and stream: time to first token, time between tokens, throughput.

    Exit code: 0 nothing is worse, 1 something is, or less than --expect promised, 2 bad usage or an answer that is
    none, 3 the noise hides whether --expect is kept, 4 a server failed (what was measured is printed all the same),
    70 a fault of the program itself, 130 Ctrl-C.
    """
    from autotune_cli.commands.printing import check_format, check_writable, write_result
    from autotune_cli.errors import AutotuneError, BadField, BadServer, ServerFailed
    from autotune_cli.render.console import Console
    from autotune_cli.render.verify_formats import VerifyView
    from autotune_cli.verifying.address import parse_address
    from autotune_cli.verifying.client import Client, ServerFailure
    from autotune_cli.verifying.measuring import SIDES, Plan, SideName, choose_model, measure
    from autotune_cli.verifying.verdict import Expectation, metric_of
    from autotune_cli.verifying.verdict import verify as judge

    check_format("verify", options.format, options.output)
    check_writable(options.output)
    if options.base is None or options.new is None:
        field = "base" if options.base is None else "new"
        raise BadField(field, "is missing: autotune verify --base URL --new URL")
    texts: dict[SideName, str] = {"base": options.base, "new": options.new}
    key = _key(options.api_key_variable)
    clients = {
        side: Client(parse_address(side, text), options.api, options.timeout, key, options.ignore_eos)
        for side, text in texts.items()
    }
    plan = Plan(
        options.pairs,
        options.concurrency,
        options.input_words,
        options.output_tokens,
        options.warm_up,
        options.seed,
    )
    expectation = None if options.expect is None else Expectation(metric_of(options.metric), options.expect)
    models: dict[SideName, str] = {}
    for side in SIDES:
        try:
            models[side] = choose_model(side, clients[side], options.model)
        except ServerFailure as error:
            kind: type[AutotuneError] = BadServer if error.is_usage else ServerFailed
            raise kind(side=side, address=clients[side].address, detail=str(error)) from None
    errors = Console(stderr=True)

    def tell(line: str) -> None:
        if errors.is_terminal:
            errors.say(line, style="dim")

    measured = measure(clients, models, plan, tell)
    failure = measured.failure
    if failure is not None and not measured.pairs:
        kind = BadServer if failure.is_usage else ServerFailed
        detail = f"{failure.detail} (in {failure.during})"
        raise kind(side=failure.side, address=failure.address, detail=detail)
    verification = judge(measured, options.threshold, expectation)
    addresses: dict[str, str] = {side: str(client.address) for side, client in clients.items()}
    told = f"exit {verification.exit_code}: {verification.words}"
    write_result("verify", options.format, VerifyView(verification, addresses), options.output, told)
    if failure is not None:
        errors.say(f"error: {failure}", whole=True)
    if verification.exit_code:
        raise typer.Exit(verification.exit_code)


def _key(variable: str | None) -> str | None:
    """The key in an environment variable, which no process list shows.

    Raises:
        BadField: there is none that could stand in a header.
    """
    from autotune_cli.errors import BadField

    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise BadField("api_key_variable", f"{variable} is not set")
    if not key.isascii() or not key.isprintable():
        raise BadField("api_key_variable", f"{variable} holds what can't stand in a header")
    return key
