"""Small real HTTP servers that speak OpenAI's API, in a time of their own.

Time passes only where a server lets it: it waits for each token until the client has taken its time. So what is
measured is exactly the server's pace, however busy the machine is.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Only a test that hangs waits so long.
PATIENCE_S = 100.0


class Clock:
    """The time that all servers of a test share. The client reads it; see :mod:`autotune_cli.verifying.client`."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._reads = 0
        self._changed = threading.Condition()

    def __call__(self) -> float:
        with self._changed:
            self._reads += 1
            self._changed.notify_all()
            return self._seconds

    @property
    def reads(self) -> int:
        with self._changed:
            return self._reads

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        with self._changed:
            self._seconds += seconds

    def wait_for_read(self, before: int) -> None:
        """Until it has been read more often than that."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._reads > before, PATIENCE_S)


@dataclass
class Pace:
    """How fast a server is, in seconds, and how far it is from that from one request to the next."""

    ttft_s: float = 0.050
    itl_s: float = 0.020
    noise: float = 0.0
    """Relative standard deviation."""
    drift: float = 0.0
    """By what share each request is slower than the one before."""


class _Http(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no fault. What is printed of it would be taken for the program's own stderr."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@dataclass
class Server:
    """One server on a port of its own. It serves until :meth:`close`."""

    clock: Clock
    pace: Pace = field(default_factory=Pace)
    models: tuple[str, ...] = ("tiny",)
    lockstep: bool = True
    """Wait for the client at each token; only one request at a time can."""
    faults: dict[int, str] = field(default_factory=dict)
    """By the number of the request for tokens: what it does wrong. -1: all of them."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    tokens: int | None = None
    """Of an answer, whatever was asked for."""
    tells_usage: bool = True
    tokens_a_chunk: int = 1
    seed: int = 0
    """Of its noise."""

    def __post_init__(self) -> None:
        self.closing = threading.Event()
        self._random = random.Random(self.seed)
        self._http = _Http(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def next_fault(self) -> str | None:
        """What the next request for tokens will meet."""
        return self.faults.get(len(self.requests), self.faults.get(-1))

    def factor(self) -> float:
        number = len(self.requests)
        return (1.0 + self.pace.drift) ** number * max(0.1, self._random.gauss(1.0, self.pace.noise))

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(PATIENCE_S)


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            if self.path != "/v1/models":
                self.answer(404, "text/plain", b"Not Found")
                return
            data = [{"id": name, "object": "model"} for name in server.models]
            self.answer(200, "application/json", json.dumps({"object": "list", "data": data}).encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fault = server.next_fault()
            server.requests.append(body)
            server.headers.append(dict(self.headers.items()))
            if body["model"] not in server.models:
                message = f"The model `{body['model']}` does not exist."
                self.answer(404, "application/json", json.dumps({"error": {"message": message}}).encode())
            elif self.path not in ("/v1/completions", "/v1/chat/completions"):
                self.answer(404, "application/json", b'{"detail": "Not Found"}')
            elif fault in ANSWERS:
                status, kind, data = ANSWERS[fault]
                self.answer(status, kind, data)
            else:
                self.stream(body, fault)

        def answer(self, status: int, kind: str, data: bytes) -> None:
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "http://elsewhere.example/v1/completions")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def stream(self, body: dict[str, Any], fault: str | None) -> None:
            clock, pace, factor = server.clock, server.pace, server.factor()
            if fault == "silent":
                self.close_connection = True
                return
            if fault == "hang":
                server.closing.wait(PATIENCE_S)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            count = server.tokens or body["max_tokens"]
            chunks = 0 if fault == "empty" else count // server.tokens_a_chunk
            for number in range(chunks):
                if fault == "drop" and number == 3:
                    self.connection.close()
                    self.close_connection = True
                    return
                if fault == "hang later" and number == 2:
                    server.closing.wait(PATIENCE_S)
                    return
                if fault == "drip" and number == 2:
                    while not server.closing.wait(0.01):
                        try:
                            self.chunk(": still there\n\n")
                        except OSError:
                            return
                    return
                event = (fault or "").removeprefix("at first: ")
                if event in EVENTS and number == (1 if event == fault else 0):
                    self.event(EVENTS[event])
                before = clock.reads
                clock.wait(factor * (pace.itl_s * server.tokens_a_chunk if number else pace.ttft_s))
                self.event(json.dumps(self.document(body, "word " * server.tokens_a_chunk)))
                if server.lockstep:
                    clock.wait_for_read(before)
            if fault == "cut":
                self.chunk("")
                return
            self.event(json.dumps(self.document(body, "", "length")))
            if server.tells_usage:
                words = len(str(body.get("prompt") or body["messages"][0]["content"]).split())
                self.event(json.dumps({"choices": [], "usage": {"prompt_tokens": words, "completion_tokens": count}}))
            self.event("[DONE]")
            if fault == "linger":
                server.closing.wait(PATIENCE_S)
                return
            self.chunk("")

        def document(self, body: dict[str, Any], text: str, reason: str | None = None) -> dict[str, Any]:
            choice: dict[str, Any] = {"index": 0, "finish_reason": reason}
            choice |= {"text": text} if "prompt" in body else {"delta": {"content": text}}
            return {"choices": [choice]}

        def event(self, data: str) -> None:
            self.chunk(f"data: {data}\n\n")

        def chunk(self, text: str) -> None:
            data = text.encode()
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

    return Handler


# Whole answers that are wrong: status, type, body.
ANSWERS: dict[str | None, tuple[int, str, bytes]] = {
    "500": (500, "application/json", b'{"error": {"message": "CUDA error: out of memory\\nat line 3"}}'),
    "503": (503, "text/html", b"<html>busy</html>"),
    "401": (401, "application/json", b'{"error": "Unauthorized"}'),
    "422": (422, "application/json", b'{"object": "error", "message": "extra field ignore_eos"}'),
    "redirect": (307, "text/plain", b""),
    "html": (200, "text/html", b"<html>welcome</html>"),
    "json": (200, "application/json", b'{"choices": [{"text": "all at once"}]}'),
}
# Events that are wrong: after the first token, or, behind "at first: ", before it.
EVENTS: dict[str | None, str] = {
    "error event": '{"error": {"message": "the engine has died"}}',
    "error 500": '{"error": {"message": "the engine has died", "type": "InternalServerError", "code": 500}}',
    "error 400": '{"error": {"message": "the prompt is too long", "type": "BadRequestError", "code": 400}}',
    "error object 400": '{"object": "error", "message": "the prompt is too long", "code": 400}',
    "no json": "{oops",
    "no object": "[1]",
    "no choices": '{"hello": 1}',
    "nested": "[" * 100_000,
    "long": "\ndata: ".join(["x" * 1000] * 1100),
}

Make = Callable[..., Server]
