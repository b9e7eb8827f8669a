"""``autotune verify`` on two real servers: a change that is there, one that isn't, and servers that fail midway."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openai_server import Make, Pace, Server
from running import Finished

from autotune_cli.verifying import measuring
from autotune_cli.verifying.address import parse_address
from autotune_cli.verifying.client import Answer, Client
from autotune_cli.verifying.measuring import Plan, measure, orders

SMALL = ("--output-tokens", "5", "--input-words", "4", "--pairs", "8", "--warm-up", "1")


@pytest.fixture
def verify(usage: Callable[..., Finished]) -> Callable[..., Finished]:
    def call(base: Server | str, new: Server | str, *more: object, **variables: str) -> Finished:
        urls = [server if isinstance(server, str) else server.url for server in (base, new)]
        return usage("verify", "--base", urls[0], "--new", urls[1], *SMALL, *more, variables=variables)

    return call


def test_a_server_that_is_five_times_as_fast(serve: Make, verify: Callable[..., Finished]) -> None:
    base, new = serve(Pace(0.050, 0.020, noise=0.01)), serve(Pace(0.050, 0.004, noise=0.01))
    done = verify(base, new)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == f"base: {base.url}, tiny"
    assert lines[2] == "8 interleaved pairs of one request, 4 words in, 5 tokens out, seed 0"
    row = next(line for line in lines if line.startswith("time between tokens"))
    assert row.split()[-1] == "better"
    assert "-80." in row or "-79." in row
    assert lines[-1].startswith("exit 0: better: time between tokens, throughput")
    # The other way round it is a failed check.
    back = verify(new, base)
    assert back.code == 1
    assert "worse: time between tokens, throughput" in back.out.splitlines()[-1]


def test_two_servers_that_are_alike(serve: Make, verify: Callable[..., Finished]) -> None:
    done = verify(serve(Pace(noise=0.001)), serve(Pace(noise=0.001)), "--format", "json")
    document = json.loads(done.out)
    assert (done.code, document["exit_words"]) == (0, "no change beyond the noise")
    assert {change["verdict"] for change in document["changes"]} == {"same"}


@pytest.mark.parametrize(
    ("expect", "noise", "code", "kept"),
    [("5%", 0.005, 0, "confirmed"), ("20%", 0.005, 1, "refuted"), ("5%", 0.4, 3, "undecided")],
)
def test_a_promise(
    serve: Make, verify: Callable[..., Finished], expect: str, noise: float, code: int, kept: str
) -> None:
    base, new = serve(Pace(0.05, 0.020, noise)), serve(Pace(0.05, 0.019, noise))
    done = verify(base, new, "--expect", expect)
    assert done.code == code, done.out
    assert f"exit {code}: time between tokens {expect.removesuffix('%')} % better: {kept}" in done.out


def test_a_promise_of_another_metric(serve: Make, verify: Callable[..., Finished]) -> None:
    base, new = serve(Pace(0.05, 0.020)), serve(Pace(0.04, 0.020))
    assert verify(base, new, "--expect", "20%", "--metric", "ttft").code == 0
    assert verify(base, new, "--expect", "20%").code == 1
    # 0.13 s become 0.12 s.
    assert verify(base, new, "--expect", "8%", "--metric", "throughput").code == 0
    assert verify(base, new, "--expect", "9%", "--metric", "throughput").code == 1


def test_servers_that_slow_down_together_are_alike(serve: Make, verify: Callable[..., Finished]) -> None:
    """By 3 % from one request to the next, which is far more than the threshold."""
    done = verify(serve(Pace(drift=0.03)), serve(Pace(drift=0.03)), "--format", "json", "--pairs", "20")
    changes = json.loads(done.out)["changes"]
    assert done.code == 0
    assert all(abs(change["ratio"] - 1.0) < 0.001 for change in changes)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("drop", "dropped the connection after 3 tokens"),
        ("500", "answers 500 Internal Server Error: CUDA error: out of memory at line 3"),
        ("error event", "sends an error in the stream: the engine has died"),
    ],
)
def test_a_server_that_fails_in_the_middle(
    serve: Make, verify: Callable[..., Finished], tmp_path: Path, fault: str, words: str
) -> None:
    """After the warm-up and three pairs; what was measured is kept."""
    base, new = serve(Pace(0.05, 0.02)), serve(Pace(0.05, 0.004), faults={4: fault})
    done = verify(base, new, "--format", "json", "--output", tmp_path / "verify.json")
    assert done.code == 4
    told = f"new {new.url} {words} (in pair 4 of 8)"
    assert done.err.splitlines()[-1] == f"error: {told}"
    assert f"exit 4: cut short after 3 of 8 pairs: {told}" in done.err
    document = json.loads((tmp_path / "verify.json").read_text())
    assert (document["complete"], document["failure"]["side"], len(document["pairs"])) == (False, "new", 3)
    assert document["pairs"][0]["new"]["itl_s"] == pytest.approx(0.004)
    assert document["changes"][1]["verdict"] == "better"


def test_a_server_that_hangs_in_the_middle(serve: Make) -> None:
    """Only the request that hangs has little time: a busy machine must not make others fail."""
    base, new = serve(), serve(faults={2: "hang later"}, lockstep=True)

    class Impatient(Client):
        def ask(self, model: str, prompt: str, tokens: int) -> Answer:
            hangs = new.next_fault() is not None and self.address.port == int(new.url.rpartition(":")[2])
            patient = Client(self.address, timeout_s=0.1 if hangs else 100.0)
            return patient.ask(model, prompt, tokens)

    clients: Any = {"base": Impatient(parse_address("a", base.url)), "new": Impatient(parse_address("a", new.url))}
    measured = measure(clients, {"base": "tiny", "new": "tiny"}, Plan(5, 1, 4, 5, 1), lambda line: None)
    assert len(measured.pairs) == 1
    assert re.search(r" says nothing for 0\.1 s.* \(in pair 2 of 5\)$", str(measured.failure))


@pytest.mark.parametrize("fault", ["empty", "html", "json", "422", "401", "redirect"])
def test_a_server_that_is_none_of_openai_s_is_bad_usage(
    serve: Make, verify: Callable[..., Finished], fault: str
) -> None:
    server = serve(faults={-1: fault})
    done = verify(serve(), server)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"error: new {server.url} ")
    assert done.err.endswith("(in the warm-up)\n")


@pytest.mark.parametrize(("fault", "code"), [("error event", 4), ("error 500", 4), ("error 400", 2), ("no json", 2)])
def test_an_error_before_the_first_token_is_the_server_s_unless_it_says_otherwise(
    serve: Make, verify: Callable[..., Finished], fault: str, code: int
) -> None:
    server = serve(faults={-1: f"at first: {fault}"})
    done = verify(serve(), server)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert done.err.startswith(f"error: new {server.url} sends an e")


def test_bad_usage_is_one_line(serve: Make, verify: Callable[..., Finished], usage: Callable[..., Finished]) -> None:
    server = serve(models=("llama-3.1-8b", "qwen"))
    for arguments, line in (
        (
            (server, "gpu1:30000"),
            "--new: 'gpu1:30000' begins with neither http:// nor https://; write http://127.0.0.1",
        ),
        (("http://a:b", server), "--base: 'http://a:b' is no address: "),
        (
            (server, server, "--model", "llama"),
            f"unknown model of {server.url} 'llama'; did you mean 'llama-3.1-8b'? (k",
        ),
        ((server, f"{server.url}/deep"), f"new {server.url}/deep answers 404 Not Found: Not Found"),
        ((server, server, "--api", "talk"), "--api: 'talk' is none of completions, chat"),
        ((server, server, "--metric", "speed"), "--metric: 'speed' is none of ttft, itl, throughput"),
        ((server, server, "--expect", "3x"), "--expect: '3x' is no share; write 1% or 0.01"),
        ((server, server, "--api-key-variable", "NO_SUCH"), "--api-key-variable: NO_SUCH is not set"),
        ((serve(models=()), server), "--base: "),
    ):
        done = verify(*arguments)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert done.err.startswith(f"error: {line}")
    assert usage("verify", "--new", server.url).err.startswith("error: --base: is missing")


def test_a_server_that_nobody_runs_is_no_bad_usage(serve: Make, verify: Callable[..., Finished]) -> None:
    gone = serve()
    gone.close()
    done = verify(serve(), gone)
    assert (done.code, done.err) == (4, f"error: new {gone.url} refuses the connection: does a server listen there?\n")


def test_a_key_is_sent_and_never_told(serve: Make, verify: Callable[..., Finished]) -> None:
    server = serve()
    done = verify(server, server, "--api-key-variable", "MY_KEY", "--format", "json", MY_KEY="hush")
    assert server.headers[0]["Authorization"] == "Bearer hush"
    assert "hush" not in done.out + done.err


def test_several_requests_at_a_time(serve: Make, verify: Callable[..., Finished]) -> None:
    base, new = serve(lockstep=False), serve(lockstep=False, models=("other",))
    done = verify(base, new, "--concurrency", "4", "--api", "chat", "--format", "json")
    document = json.loads(done.out)
    assert document["plan"]["concurrency"] == 4
    assert len(base.requests) == len(new.requests) == 4 * 9
    texts = [request["messages"][0]["content"] for server in (base, new) for request in server.requests]
    assert len(set(texts)) == len(texts)
    assert document["notes"] == ["base serves tiny, new serves other"]
    failing = serve(lockstep=False, faults={6: "500"})
    assert verify(base, failing, "--concurrency", "4").code == 4


def test_answers_of_other_lengths_are_noted(serve: Make, verify: Callable[..., Finished]) -> None:
    notes = json.loads(verify(serve(), serve(tokens=4), "--format", "json").out)["notes"]
    assert notes == ["base answers with 5 tokens, new with 4: not the same work"]
    notes = json.loads(verify(serve(tokens=4), serve(tokens=4), "--format", "json").out)["notes"]
    assert notes == ["both answer with 4 of 5 tokens"]


def test_ctrl_c_keeps_what_was_measured(
    serve: Make, verify: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = measuring._sample

    def interrupted(*arguments: Any) -> Any:
        if arguments[3:5] == ("pair", 3):
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(measuring, "_sample", interrupted)
    done = verify(serve(), serve())
    assert done.code == 130
    assert done.out.splitlines()[-1] == "exit 130: interrupted after 3 of 8 pairs"


def test_rows_as_csv_and_markdown(serve: Make, verify: Callable[..., Finished]) -> None:
    base, new = serve(Pace(0.05, 0.02)), serve(Pace(0.05, 0.004))
    rows = list(csv.DictReader(io.StringIO(verify(base, new, "--format", "csv").out)))
    assert len(rows) == 16
    assert {row["side"]: float(row["itl_s"]) for row in rows} == {
        "base": pytest.approx(0.02),
        "new": pytest.approx(0.004),
    }
    assert sum(row["was_first"] == "True" for row in rows) == 8
    markdown = verify(base, new, "--format", "markdown").out
    assert markdown.startswith("### autotune verify: better: time between tokens")
    assert "| time to first token | 50 ms | 50 ms | " in markdown.replace(" ± 0.0 %", "")


def test_pairs_mirror_each_other() -> None:
    found = orders(200, 3)
    assert all(found[i] == found[i + 1][::-1] for i in range(0, 200, 2))
    firsts = [order[0] for order in found[::2]]
    assert 30 < firsts.count("base") < 70
    assert orders(200, 3) == found != orders(200, 4)
    assert len(orders(5, 0)) == 5
    assert replace(Plan(), pairs=3).pairs == 3


def test_the_page_shows_what_is_printed(serve: Make, usage: Callable[..., Finished]) -> None:
    """The block of docs/verify.md, up to ports: two servers, of which the new one's tokens come 3 % sooner."""
    page = (Path(__file__).parents[2] / "docs" / "verify.md").read_text()
    shown = page.partition("```text\n")[2].partition("```")[0].splitlines()
    base, new = (serve(Pace(0.0312, gap, noise=0.01), models=("llama-3.1-8b",)) for gap in (0.00741, 0.00719))
    printed = usage("verify", "--base", base.url, "--new", new.url).out
    assert [re.sub(r":\d{4,}", "", line) for line in printed.splitlines()] == [
        re.sub(r":\d{4,}", "", line) for line in shown
    ], printed
