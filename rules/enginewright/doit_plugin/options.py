"""The options of commands that may use what is beyond this machine. Light imports only: a build with nothing to do has its options too."""

from __future__ import annotations

from typing import Any


def option(long: str, default: str | int | bool | list[str] | type, text: str, short: str = "", **more: Any) -> dict[str, Any]:
    """The option ``--LONG`` of a command, as doit takes it, with the help ``text``. Its values are of the type of the default.

    One whose default is a list may be given several times; of one whose default is a type itself, one can tell that it was not given:
    it is None then. ``more`` is what else doit knows: another ``name``, ``choices``.
    """
    kind, value = (default, None) if isinstance(default, type) else (type(default), default)
    return {"name": long.replace("-", "_"), "short": short, "long": long, "type": kind, "default": value, "help": text, **more}


OPT_JSON = option("json", False, "write one JSON document to standard output instead of lines for people")

CACHE_OPTIONS = (
    option(
        "remote-cache",
        str,
        "share results with other machines: grpc[s]://HOST:PORT[/INSTANCE], http[s]://HOST[/PATH], s3://BUCKET[/PREFIX], gs://...,"
        " az://..., file:///FOLDER; empty for none [default: ENGINEWRIGHT_REMOTE_CACHE, or cache in [tool.enginewright.remote]]",
    ),
    option("remote-mode", str, "read: take results from there; write: put them there; read-write: both [default: read-write]"),
    option(
        "remote-download",
        str,
        "which outputs of results found there are fetched: all; toplevel: of the targets that are asked for; minimal: none but"
        " what an action needs that runs here [default: toplevel]",
    ),
    option(
        "remote-cache-timeout", str, "seconds that the remote cache may take for an answer; a second more for each megabyte [default: 10]"
    ),
    option("remote-token-file", str, "the file that holds the bearer token [default: the token in ENGINEWRIGHT_REMOTE_TOKEN, if any]"),
    option("remote-tls-ca", str, "the authorities that may vouch for the server, PEM [default: the system's]"),
    option("remote-tls-certificate", str, "the client certificate that is shown to the server, PEM"),
    option("remote-tls-key", str, "the key of the client certificate, PEM"),
    option("remote-required", False, "fail when there is trouble with the remote cache, rather than go on without it"),
)

EXECUTOR_OPTIONS = (
    option("remote-executor", str, "have a Remote Execution API server run actions: grpc[s]://HOST:PORT[/INSTANCE]; empty for none"),
    option(
        "remote-execution",
        str,
        "which actions run there: auto (those that this machine cannot run), always, never; also of a kind or a target, as in"
        " auto,TensorrtEngine=always,models/x:big=never [default: auto]",
    ),
    option("remote-jobs", str, "actions that may be under way there at a time, beside those that run here [default: 64]"),
    option("remote-timeout", str, "seconds that an action may run there [default: the server's own limit]"),
    option("remote-queue-timeout", str, "seconds that an action may wait for a worker [default: no limit]"),
)
