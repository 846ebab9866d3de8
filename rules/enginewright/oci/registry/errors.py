"""What goes wrong with a registry, and whether to try again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from enginewright.errors import ActionError
from enginewright.oci.layout import read_json

TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
"""The status codes of answers that may be others in a while."""


class RegistryError(ActionError):
    """A registry refused, could not be reached, or answered with what it should not. ``status`` is its HTTP status, or 0."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Transient(RegistryError):
    """What may go away by itself. ``retry_after`` is how many seconds the registry asks to wait, if it does."""

    def __init__(self, message: str, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message, status)
        self.retry_after = retry_after


class Cancelled(Exception):
    """The command was interrupted; nobody waits for the answer."""


def refusal(status: int, headers: Mapping[str, str], body: bytes, what: str, registry: str) -> RegistryError:
    """An answer that is no success, in words: what was asked (``what``, as "a push to NAME"), and what can be done about it."""
    said = said_in(body)
    message = f"{registry} answered {what} with {status}{f' ({said})' if said else ''}{_ADVICE.get(status, '').format(registry=registry)}"
    if status in TRANSIENT:
        wait = _seconds(headers.get("Retry-After"))
        return Transient(f"{message}{'' if wait is None else f'; it asks to wait {wait:.0f} s'}", status, wait)
    return RegistryError(message, status)


_ADVICE = {
    200: ", as no registry does: is it one, or is something else before it?",
    401: ": log in with `docker login {registry}`, or check that these credentials may do so",
    403: ": the credentials for {registry} are not allowed to do so",
    404: ": there is no such image there, or it is not to be seen without logging in",
    413: ": that, or a proxy before it, takes nothing as large",
    429: ": it wants fewer requests; logging in often allows more",
}


def said_in(body: bytes) -> str:
    """The first error of an answer's body: distribution-spec, "Error Codes". Empty when it is something else."""
    try:
        first = read_json(body)["errors"][0]
        text = ": ".join(str(first[key]) for key in ("code", "message") if first.get(key))
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
    return in_a_line(text)


def in_a_line(text: str) -> str:
    """The word of a server, to be shown on a terminal: cut to a line of printable characters."""
    return "".join(each if each.isprintable() else " " for each in text)[:200]


def _seconds(retry_after: str | None) -> float | None:
    """``Retry-After``: seconds, or a date (RFC 9110, 10.2.3)."""
    if not retry_after:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(timezone.utc)).total_seconds())
    except (ValueError, TypeError):
        return None
