"""Deadlines of calls to a server that never answers: nothing is there but an open port."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from enginewright.remote.address import Access, parse
from enginewright.remote.channel import Connection
from enginewright.remote.errors import RemoteError


@pytest.fixture
def silent() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"grpc://127.0.0.1:{server.getsockname()[1]}"


def timeouts(connection: Connection, calls: int) -> list[float]:
    """The seconds that each of these calls, all of which fail, may take, and those of the next."""
    found = [connection.timeout]
    call = connection.channel.unary_unary("/no.Service/Call")
    for _ in range(calls):
        with pytest.raises(RemoteError, match="did not answer in time while asking") as caught, connection.errors("asking"):
            call(b"", timeout=connection.timeout)
        assert caught.value.slow and not caught.value.temporary
        found.append(connection.timeout)
    connection.close()
    return found


def test_a_server_that_is_slow_is_given_more_time_by_the_patient(silent: str) -> None:
    assert timeouts(Connection(parse(silent), Access(), 0.01, patient=True), 4) == [0.01, 0.02, 0.04, 0.08, 0.08]
    assert timeouts(Connection(parse(silent), Access(), 0.01), 1) == [0.01, 0.01]
