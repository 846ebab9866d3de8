"""A gRPC channel to a server of the Remote Execution API."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# Before gRPC is imported: what it logs is for its makers, and it must not mind that this process starts others.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
from grpc import _common

from enginewright.errors import WorkspaceError
from enginewright.remote.address import Access, Address
from enginewright.remote.errors import RemoteError

# A thread that waits for a stream looks ten times a second whether a signal came, which Python's own waits are told of by now. Where many
# builds have many actions waiting, on one machine, this is all that the machine does. gRPC has no other way to say so.
_common.MAXIMUM_WAIT_TIMEOUT = 30.0

BATCH = 4_000_000 - 64_000
"""Bytes that fit into one message, with room for what is around them: most servers allow 4 MiB, and not all say so."""

_TEMPORARY = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
_HINTS = {
    grpc.StatusCode.UNAUTHENTICATED: "set ENGINEWRIGHT_REMOTE_TOKEN or token-file, or a client certificate",
    grpc.StatusCode.PERMISSION_DENIED: "what was shown to it does not allow this",
    grpc.StatusCode.UNIMPLEMENTED: "it does not offer this service",
}


class Connection:
    """A channel to one server, and what each call on it needs: the name of the ``instance``, ``metadata``, and a deadline.

    ``timeout`` is how many seconds a call may take that moves no more than a message or two. It is doubled, up to eight times what it
    was, when a call takes longer, if we are to be ``patient``: a server that is flooded works for nothing otherwise, on calls that
    nobody waits for any more.
    """

    def __init__(self, address: Address, access: Access, timeout: float, patient: bool = False) -> None:
        self.address = address
        self.instance = address.path
        self.timeout = timeout
        self._longest = 8 * timeout if patient else timeout
        self.metadata = tuple(access.headers(address).items())
        options = [
            ("grpc.max_receive_message_length", 64 << 20),
            ("grpc.max_send_message_length", 64 << 20),
            # What a stream may have on its way, and a pause after which a silent server counts as gone.
            ("grpc.http2.lookahead_bytes", 8 << 20),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 5_000),  # what a busy server may take to greet; what refuses is tried again sooner
            ("grpc.max_reconnect_backoff_ms", 5_000),
            ("grpc.primary_user_agent", "enginewright"),
            # A proxy from the environment is not for a server on this machine.
            ("grpc.enable_http_proxy", 0 if address.secure and address.scheme == "grpc" else 1),
        ]
        if address.scheme == "grpc":
            self.channel = grpc.insecure_channel(address.target, options)
            return
        if (access.certificate is None) != (access.key is None):
            raise WorkspaceError("tls-certificate and tls-key go together: give both or neither")
        credentials = grpc.ssl_channel_credentials(access.read(access.ca), access.read(access.key), access.read(access.certificate))
        self.channel = grpc.secure_channel(address.target, credentials, options)

    def allow(self, size: int) -> float:
        """The seconds that a call may take which moves so many bytes: beyond a call's, a second a megabyte."""
        return self.timeout + size / 1e6

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turn gRPC's errors into RemoteError. ``doing`` completes "while ..."."""
        timeout = self.timeout
        try:
            yield
        except grpc.RpcError as error:
            problem = self.error(error, doing)
            if problem.slow:  # calls at the same time count as one
                self.timeout = max(self.timeout, min(2 * timeout, self._longest))
            raise problem from None

    def error(self, error: grpc.RpcError, doing: str) -> RemoteError:
        """What gRPC has to say, in words."""
        code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
        details = (error.details() if isinstance(error, grpc.Call) else str(error)) or ""
        if code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED):  # the latter when the server's clock was the quicker
            return RemoteError(f"{self.address} did not answer in time while {doing}", slow=True)
        if code is grpc.StatusCode.UNAVAILABLE:
            # One that does not even greet in time is there.
            greeting = "before receiving SETTINGS" in details
            return RemoteError(f"{self.address} cannot be reached, while {doing}: {details}", temporary=True, slow=greeting)
        hint = f"; {_HINTS[code]}" if code in _HINTS else ""
        message = f"{self.address} answered {code.name} while {doing}: {details}{hint}"
        return RemoteError(message, temporary=code in _TEMPORARY, full=code is grpc.StatusCode.RESOURCE_EXHAUSTED)

    def close(self) -> None:
        """Close the channel; what is under way on it fails."""
        self.channel.close()
