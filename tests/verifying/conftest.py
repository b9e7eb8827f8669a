"""Fixtures for the tests beside this file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openai_server import Clock, Make, Server

from autotune_cli.verifying import client


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Starts servers, all in one time of their own, which is the client's too."""
    clock, started = Clock(), []
    monkeypatch.setattr(client, "now", clock)

    def make(*arguments: Any, **more: Any) -> Server:
        started.append(Server(clock, *arguments, seed=len(started), **more))
        return started[-1]

    yield make
    for server in started:
        server.close()
