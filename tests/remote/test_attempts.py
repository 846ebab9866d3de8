from __future__ import annotations

import threading

import pytest

from enginewright.remote import attempts
from enginewright.remote.errors import RemoteError


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(attempts, "_TURN", 0.0)


class Server:
    """Fails with these errors, one a call, and then answers."""

    def __init__(self, *errors: RemoteError) -> None:
        self.errors = list(errors)

    def __call__(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


FULL = RemoteError("full", temporary=True, full=True)
SLOW = RemoteError("slow", slow=True)
FAULT = RemoteError("fault", temporary=True)


def test_a_fault_that_may_pass_is_borne_four_times() -> None:
    assert attempts.persistently(Server(*[FAULT] * 4)) == "answer"
    with pytest.raises(RemoteError, match="fault"):
        attempts.persistently(Server(*[FAULT] * 5))


def test_another_fault_is_final() -> None:
    with pytest.raises(RemoteError, match="final"):
        attempts.persistently(Server(RemoteError("final")))


def test_a_server_that_is_full_is_asked_until_it_has_room() -> None:
    assert attempts.patiently(Server(*[FULL] * 50), threading.Event()) == "answer"


def test_a_server_that_is_slow_is_asked_some_times() -> None:
    assert attempts.patiently(Server(*[SLOW, FULL] * (attempts._SLOW - 1)), threading.Event()) == "answer"
    with pytest.raises(RemoteError, match="slow"):
        attempts.patiently(Server(*[SLOW, FULL] * attempts._SLOW), threading.Event())


def test_other_faults_do_not_ask_for_patience() -> None:
    with pytest.raises(RemoteError, match="fault"):
        attempts.patiently(Server(FULL, *[FAULT] * 4), threading.Event())


def test_who_is_stopped_does_not_wait() -> None:
    stopped, server = threading.Event(), Server(*[FULL] * 50)
    stopped.set()
    with pytest.raises(RemoteError, match="full"):
        attempts.patiently(server, stopped)
    assert len(server.errors) == 49
