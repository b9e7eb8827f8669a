"""One request to a real server: what is measured, and what is said of servers that do wrong."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from openai_server import Make, Pace

from autotune_cli.errors import BadField
from autotune_cli.verifying import bounded
from autotune_cli.verifying.address import parse_address
from autotune_cli.verifying.answers import Events, read_chunk
from autotune_cli.verifying.client import Client, ServerFailure
from autotune_cli.verifying.prompts import prompt


def client(url: str, **more: object) -> Client:
    return Client(parse_address("base", url), **{"timeout_s": 100.0, **more})  # type: ignore[arg-type]


@contextmanager
def answering(data: bytes) -> Iterator[str]:
    """The address of something that sends these bytes to the first who asks."""
    with socket.socket() as talker:
        talker.bind(("127.0.0.1", 0))
        talker.listen()
        talker.settimeout(100.0)

        def talk() -> None:
            with talker.accept()[0] as connection, suppress(OSError):
                connection.recv(1000)
                connection.sendall(data)

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{talker.getsockname()[1]}"
        thread.join(100.0)


@pytest.mark.parametrize("api", ["completions", "chat"])
@pytest.mark.parametrize("tells_usage", [True, False])
def test_times_of_an_answer(serve: Make, api: str, tells_usage: bool) -> None:
    server = serve(Pace(0.050, 0.020), tells_usage=tells_usage)
    answer = client(server.url, api=api).ask("tiny", "one two three", 5)
    assert answer.ttft_s == pytest.approx(0.050)
    assert answer.itl_s == pytest.approx(0.020)
    assert (answer.tokens, answer.prompt_tokens) == (5, 3 if tells_usage else None)
    (asked,) = server.requests
    assert (asked["max_tokens"], asked["stream"], asked["ignore_eos"]) == (5, True, True)


def test_tokens_are_those_that_the_server_counts(serve: Make) -> None:
    """As with speculative decoding, where an event brings several."""
    server = serve(Pace(0.050, 0.020), tokens_a_chunk=4)
    answer = client(server.url).ask("tiny", "one", 12)
    # The second and the third event come 80 ms after the one before; 11 tokens follow the first.
    assert answer.itl_s == pytest.approx(0.160 / 11)


def test_a_key_and_what_is_not_in_the_standard(serve: Make) -> None:
    server = serve()
    client(server.url, key="secret", ignore_eos=False).ask("tiny", "one", 2)
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert "ignore_eos" not in server.requests[0]


@pytest.mark.parametrize(
    ("fault", "words", "is_usage"),
    [
        ("silent", "dropped the connection", False),
        ("drop", "dropped the connection after 3 tokens", False),
        ("cut", "dropped the connection after 5 tokens", False),
        ("empty", "ends its stream without a token", True),
        ("500", "answers 500 Internal Server Error: CUDA error: out of memory at line 3", False),
        ("503", "answers 503 Service Unavailable", False),
        ("401", "answers 401 Unauthorized: Unauthorized", True),
        ("422", "answers 422 Unprocessable Entity: extra field ignore_eos", True),
        ("redirect", "redirects to http://elsewhere.example/v1/completions: name that address", True),
        ("html", "answers with text/html, not with a stream of events", True),
        ("json", "answers with application/json, not with a stream of events", True),
        ("error event", "sends an error in the stream: the engine has died", False),
        ("error 400", "sends an error in the stream: the prompt is too long", False),
        ("at first: error event", "sends an error in the stream: the engine has died", False),
        ("at first: error 500", "sends an error in the stream: the engine has died", False),
        ("at first: error 400", "sends an error in the stream: the prompt is too long", True),
        ("at first: error object 400", "sends an error in the stream: the prompt is too long", True),
        ("at first: no json", "sends an event that is no JSON: {oops", True),
        ("at first: no choices", 'sends an event without choices: {"hello": 1}', True),
        ("no json", "sends an event that is no JSON: {oops", False),
        ("no object", "sends an event that is no object: [1]", False),
        ("no choices", 'sends an event without choices: {"hello": 1}', False),
        ("nested", f"sends an event that is no JSON: {'[' * 200}...", False),
        ("long", "sends an event of more than 1048576 characters", False),
    ],
)
def test_a_server_that_does_wrong_is_one_line(serve: Make, fault: str, words: str, is_usage: bool) -> None:
    server = serve(faults={0: fault})
    with pytest.raises(ServerFailure) as told:
        client(server.url).ask("tiny", "one", 5)
    assert (str(told.value), told.value.is_usage) == (words, is_usage)
    # The next request goes through.
    assert client(server.url).ask("tiny", "one", 5).tokens == 5


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("hang", r"says nothing for 0\.1 s"),
        # How many tokens come until then depends on how busy this machine is; so does which limit is met.
        ("hang later", r"says nothing for 0\.1 s( after [012] tokens)?"),
        ("drip", r"(is not done after|says nothing for) 0\.1 s.*"),
    ],
)
def test_a_server_that_hangs(serve: Make, fault: str, words: str) -> None:
    with pytest.raises(ServerFailure, match=f"^{words}$"):
        client(serve(faults={0: fault}, lockstep=False).url, timeout_s=0.1).ask("tiny", "one", 5)


def test_nothing_is_waited_for_after_the_end(serve: Make) -> None:
    assert client(serve(faults={0: "linger"}).url, timeout_s=30.0).ask("tiny", "one", 5).tokens == 5


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", " and 0 tokens"),
    ],
    ids=["headers", "body", "line"],
)
def test_a_server_that_never_ends(monkeypatch: pytest.MonkeyPatch, head: bytes, words: str) -> None:
    """Bytes keep coming, so the socket's own timeout is never met."""
    moments = itertools.count(0.0, 60.0)
    monkeypatch.setattr(bounded, "now", lambda: next(moments))
    with answering(head + b"a" * (1 << 21)) as url:
        asked = client(url)
        with pytest.raises(ServerFailure) as told:
            _ = asked.ask("tiny", "one", 5) if words else asked.models()
    assert str(told.value) == f"is not done after 100 s{words}"


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"data": ' + b"[" * 100_000])
def test_models_that_are_nested_without_end(body: bytes) -> None:
    for status, words in ((b"200 OK", "is no JSON"), (b"500 Oops", "answers 500 Oops: ")):
        with answering(b"HTTP/1.1 " + status + b"\r\n\r\n" + body) as url, pytest.raises(ServerFailure, match=words):
            client(url).models()


@pytest.mark.parametrize("count", ["true", "9" * 4000, "-1", "1.5", "null"])
def test_tokens_that_nobody_can_have_counted(count: str) -> None:
    data = f'{{"choices": [], "usage": {{"completion_tokens": {count}, "prompt_tokens": 7}}}}'
    assert (read_chunk(data, "completions").tokens, read_chunk(data, "completions").prompt_tokens) == (None, 7)


def test_models(serve: Make) -> None:
    assert client(serve(models=("a", "b")).url).models() == ["a", "b"]
    with pytest.raises(ServerFailure, match="answers 404 Not Found: Not Found"):
        client(serve().url + "/deep").models()


def test_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(ServerFailure, match="refuses the connection"):
        client(f"http://127.0.0.1:{port}").models()


def test_a_server_without_tls(serve: Make) -> None:
    with pytest.raises(ServerFailure, match="can't be talked to by TLS: "):
        client(serve().url.replace("http://", "https://")).models()


def test_something_that_is_no_http() -> None:
    with (
        answering(b"220 smtp.example\r\n") as url,
        pytest.raises(ServerFailure, match=r"does not speak HTTP: 220 smtp\.example") as told,
    ):
        client(url).models()
    assert told.value.is_usage


@pytest.mark.parametrize(
    ("text", "address", "path"),
    [
        ("http://gpu1:30000", "http://gpu1:30000", "/v1/models"),
        ("https://Host/v1/", "https://host", "/v1/models"),
        ("http://[::1]:8000/api/v1", "http://[::1]:8000/api", "/api/v1/models"),
        ("http://h:80", "http://h", "/v1/models"),
    ],
)
def test_addresses(text: str, address: str, path: str) -> None:
    parsed = parse_address("base", text)
    assert (str(parsed), parsed.path("models")) == (address, path)


@pytest.mark.parametrize(
    "text",
    ["", "gpu1:30000", "ftp://h", "http://", "http://h:port", "http://h:99999", "http://h/?a", "http://h o", "http://ä",
     "http://me:hush@h", "http://h\n", "http://[::1", "http://a..b", f"http://{'h' * 64}"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(BadField, match="base: ") as told:
        parse_address("base", text)
    assert "\n" not in str(told.value)
    assert "hush" not in str(told.value)


def test_events_of_several_lines_and_comments() -> None:
    events = Events()
    lines = [b": hello\n", b"event: x\r\n", b"data: a\n", b"data:b\n", b"\r\n", b"\n", b"data: c\n", b"\n"]
    assert [found for line in lines if (found := events.feed(line)) is not None] == ["a\nb", "c"]


def test_prompts_differ_from_their_beginning_on() -> None:
    texts = [prompt(8, 0, "pair", number, side) for number in range(20) for side in ("base", "new")]
    assert len(set(texts)) == len(texts)
    assert all(len(text.split()) == 8 for text in texts)
    assert prompt(8, 0, "pair", 3, "new") == prompt(8, 0, "pair", 3, "new") != prompt(8, 1, "pair", 3, "new")
