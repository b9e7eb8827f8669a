"""Asks a server and takes the time of what comes back.

By the standard library's HTTP client, which hands over each line as it comes and does little beside.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autotune_cli.verifying.address import Address
from autotune_cli.verifying.answers import (
    DONE,
    USAGE_STATUS,
    BadAnswer,
    Events,
    error_body,
    model_names,
    read_chunk,
    short,
)
from autotune_cli.verifying.bounded import BoundedResponse, NotDone

# A line of a stream, a body: no more is taken in.
_MOST_LINE, _MOST_BODY = 1 << 20, 1 << 20
# After the last event the end of an answer comes at once, or not at all.
_LAST_S = 0.5
_PATHS = {"completions": "completions", "chat": "chat/completions"}

now: Callable[[], float] = time.perf_counter
"""Seconds; tests have a clock of their own."""


class ServerFailure(Exception):
    """Why a server's answer can't be used, in words that follow its address."""

    def __init__(self, detail: str, is_usage: bool = False) -> None:
        super().__init__(detail)
        self.is_usage = is_usage
        """Is it likely to be what was asked, rather than the server?"""


@dataclass(frozen=True)
class Answer:
    """One streamed answer. Times are in seconds of :data:`now`."""

    started: float
    """The request was sent."""
    first: float
    """The first text came."""
    last: float
    tokens: int
    """As the server counts them; where it doesn't, events with text."""
    prompt_tokens: int | None = None

    @property
    def ttft_s(self) -> float:
        return self.first - self.started

    @property
    def itl_s(self) -> float | None:
        """Mean time between tokens after the first; None: there are none."""
        return (self.last - self.first) / (self.tokens - 1) if self.tokens > 1 else None


@dataclass(frozen=True)
class Client:
    """Asks one server. Any number of threads may."""

    address: Address
    api: str = "completions"
    """Or ``chat``."""
    timeout_s: float = 60.0
    """Until the next bytes come, and for a whole answer."""
    key: str | None = None
    ignore_eos: bool = True
    """Ask for as many tokens as are wanted, whatever they are: not in OpenAI's API, but in SGLang's and vLLM's."""

    def models(self) -> list[str]:
        """Names of the models that it serves.

        Raises:
            ServerFailure: it tells none.
        """
        connection = self._connected()
        try:
            with self._send(connection, "GET", self.address.path("models"), None) as response:
                body = self._guarded(lambda: response.read(_MOST_BODY))
                self._refuse(response, body)
                return model_names(body)
        except BadAnswer as error:
            raise ServerFailure(f"{error}: it does not speak OpenAI's API", is_usage=True) from None
        finally:
            connection.close()

    def ask(self, model: str, prompt: str, tokens: int) -> Answer:
        """Have it continue a prompt, and wait for the end.

        Raises:
            ServerFailure: there is no whole answer.
        """
        body, path = self._body(model, prompt, tokens), self.address.path(_PATHS[self.api])
        connection = self._connected()
        try:
            started = now()
            with self._send(connection, "POST", path, body) as response:
                if response.status != http.client.OK:
                    self._refuse(response, self._guarded(lambda: response.read(_MOST_BODY)))
                kind = response.headers.get_content_type()
                if kind != "text/event-stream":
                    raise ServerFailure(f"answers with {short(kind)}, not with a stream of events", is_usage=True)
                return self._stream(response, started)
        finally:
            connection.close()

    def _body(self, model: str, prompt: str, tokens: int) -> dict[str, Any]:
        asked: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]}
        if self.api == "completions":
            asked = {"prompt": prompt}
        asked |= {"model": model, "max_tokens": tokens, "temperature": 0, "stream": True}
        asked |= {"stream_options": {"include_usage": True}}
        return asked | ({"ignore_eos": True} if self.ignore_eos else {})

    def _connected(self) -> http.client.HTTPConnection:
        """A connection of its own: what it takes to make one is no part of a time."""
        host, port = self.address.host, self.address.port
        connection: http.client.HTTPConnection
        if self.address.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(host, port, timeout=self.timeout_s, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self.timeout_s)
        connection.response_class = BoundedResponse
        self._guarded(connection.connect)
        return connection

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Mapping[str, Any] | None
    ) -> BoundedResponse:
        headers = {"Accept": "text/event-stream" if body else "application/json"}
        if body:
            headers["Content-Type"] = "application/json"
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        data = json.dumps(body).encode() if body else None
        self._guarded(lambda: connection.request(method, path, data, headers))
        response: BoundedResponse = self._guarded(connection.getresponse)
        return response

    def _refuse(self, response: http.client.HTTPResponse, body: bytes) -> None:
        """Raises unless the status is 200."""
        status = response.status
        if status == http.client.OK:
            return
        if 300 <= status < 400:
            where = response.headers.get("Location", "elsewhere")
            raise ServerFailure(f"redirects to {short(where)}: name that address", is_usage=True)
        said = error_body(body)
        text = f"answers {status} {response.reason}".rstrip() + (f": {said}" if said else "")
        raise ServerFailure(text, is_usage=status in USAGE_STATUS)

    def _stream(self, response: BoundedResponse, started: float) -> Answer:
        events = Events()
        first: float | None = None
        last = started
        texts, tokens, prompt_tokens = 0, None, None
        is_whole = False
        while True:
            line = self._guarded(lambda: response.readline(_MOST_LINE), f"{texts} tokens")
            if not line:
                break
            try:
                data = events.feed(line)
                if data is None:
                    continue
                chunk = read_chunk(data, self.api)
            except BadAnswer as error:
                raise ServerFailure(f"sends {error}", is_usage=texts == 0 and error.is_usage) from None
            if chunk.has_text:
                last = now()
                first = last if first is None else first
                texts += 1
            is_whole = is_whole or chunk.is_last
            tokens, prompt_tokens = chunk.tokens or tokens, chunk.prompt_tokens or prompt_tokens
            if data.strip() == DONE:
                self._see_off(response)
                break
        if not is_whole:
            raise ServerFailure(f"dropped the connection after {texts} tokens")
        if first is None:
            raise ServerFailure("ends its stream without a token", is_usage=True)
        return Answer(started, first, last, max(tokens or texts, 1), prompt_tokens)

    def _see_off(self, response: BoundedResponse) -> None:
        """Let a server end its answer, or it takes the client for one that has gone. Some servers and proxies keep the
        connection open instead.
        """
        response.hurry(_LAST_S)
        with contextlib.suppress(ServerFailure):
            while self._guarded(lambda: response.readline(_MOST_LINE)):
                pass

    def _guarded(self, call: Callable[[], Any], so_far: str = "") -> Any:
        """What the network does, as a failure in words.

        Args:
            so_far: what came before, ``3 tokens``.
        """
        where = f" after {so_far}" if so_far else ""
        try:
            return call()
        except NotDone:
            raise ServerFailure(f"is not done after {self.timeout_s:g} s{f' and {so_far}' if so_far else ''}") from None
        except TimeoutError:
            raise ServerFailure(f"says nothing for {self.timeout_s:g} s{where}") from None
        except ConnectionRefusedError:
            raise ServerFailure("refuses the connection: does a server listen there?") from None
        except socket.gaierror:
            raise ServerFailure("is a host that nobody knows", is_usage=True) from None
        except ssl.SSLError as error:
            reason = getattr(error, "reason", None) or str(error)
            raise ServerFailure(f"can't be talked to by TLS: {short(str(reason))}") from None
        except (ConnectionError, http.client.IncompleteRead):
            raise ServerFailure(f"dropped the connection{where}") from None
        except http.client.HTTPException as error:
            said = short(str(error) or type(error).__name__)
            raise ServerFailure(f"does not speak HTTP: {said}", is_usage=True) from None
        except OSError as error:
            raise ServerFailure(f"can't be reached: {short(error.strerror or str(error)).lower()}") from None
