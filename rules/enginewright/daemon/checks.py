"""What a container is asked, and what it must answer: declared in a BUILD.py by ``http_check()`` and ``command_check()``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enginewright.daemon.container import end_of_log, request
from enginewright.errors import ActionError

if TYPE_CHECKING:
    from docker.models.containers import Container

_SHOWN = 300


@dataclass(frozen=True)
class HttpCheck:
    """A request, with the file ``body`` if there is one, that is answered with ``status``, ``text`` and all of ``json``.

    ``json`` may be part of what is answered: objects may have more members, but not lists more items. A number may be off by a
    millionth of itself.
    """

    path: str
    method: str = "GET"
    body: str = ""
    status: int = 200
    json: Any = None
    text: str = ""


@dataclass(frozen=True)
class CommandCheck:
    """A command in the container that ends with exit code ``status``, and prints ``text`` among others."""

    command: tuple[str, ...]
    status: int = 0
    text: str = ""


def http_check(path: str, *, method: str = "", body: str = "", status: int = 200, json: Any = None, text: str = "") -> HttpCheck:
    """A request for an image_test(): its method is POST with a ``body``, a file of the package or ``dist://...``, and GET without one."""
    return HttpCheck(path, method or ("POST" if body else "GET"), body, status, json, text)


def command_check(*command: str, status: int = 0, text: str = "") -> CommandCheck:
    """A command, with its arguments, for an image_test()."""
    return CommandCheck(command, status, text)


def ask(place: tuple[str, int], container: Container, check: Mapping[str, Any], body: bytes, seconds: float) -> None:
    """Make the request of an `HttpCheck`, given as its fields. Raises ActionError where the answer is another."""
    import http.client

    what = f"{check['method']} {check['path']}"
    try:
        status, answer = request(place, check["method"], check["path"], body, seconds)
    except (OSError, http.client.HTTPException) as error:
        raise ActionError(f"{what}: no answer ({error or type(error).__name__}){end_of_log(container)}") from None
    shown = f"\nit answered: {answer[:_SHOWN].decode(errors='replace')}{'...' if len(answer) > _SHOWN else ''}"
    if status != check["status"]:
        raise ActionError(f"{what}: expected status {check['status']}, got {status}{shown}{end_of_log(container)}")
    if check["text"] not in answer.decode(errors="replace"):
        raise ActionError(f"{what}: expected {check['text']!r} in the answer{shown}")
    if check["json"] is not None:
        try:
            found = json.loads(answer)
        except ValueError:
            raise ActionError(f"{what}: expected JSON{shown}") from None
        if problem := differs(check["json"], found):
            raise ActionError(f"{what}: {problem}{shown}")


def execute(container: Container, check: Mapping[str, Any]) -> None:
    """Run the command of a `CommandCheck`, given as its fields. Raises ActionError where it ends or prints otherwise."""
    what = " ".join(check["command"])
    status, output = container.exec_run(list(check["command"]))
    said = (output or b"").decode(errors="replace")
    shown = f"\nit printed: {said[:_SHOWN].strip()}" if said else ""
    if status != check["status"]:
        raise ActionError(f"{what}: expected exit code {check['status']}, got {status}{shown}")
    if check["text"] not in said:
        raise ActionError(f"{what}: expected {check['text']!r} in what it prints{shown}")


def differs(expected: Any, found: Any, where: str = "") -> str:
    """What of ``expected`` is not in ``found``, with the place, as ``.top[0].class``; empty when all is there."""
    at = where or "the answer"
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping):
            return f"expected an object at {at}"
        for name, value in expected.items():
            if name not in found:
                return f"expected {at} to have {name!r}"
            if problem := differs(value, found[name], f"{where}.{name}"):
                return problem
        return ""
    if isinstance(expected, (list, tuple)):
        if not isinstance(found, (list, tuple)) or len(found) != len(expected):
            return f"expected a list of {len(expected)} at {at}"
        return next((each for i, pair in enumerate(zip(expected, found)) if (each := differs(*pair, f"{where}[{i}]"))), "")
    numbers = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in (expected, found))
    same = abs(expected - found) <= 1e-6 * abs(expected) if numbers else (type(expected), expected) == (type(found), found)
    return "" if same else f"expected {expected!r} at {at}, got {found!r}"
