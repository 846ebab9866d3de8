"""Objects of an HTTP server that takes PUT, as Bazel's HTTP caching protocol has it: bazel-remote, nginx, and others."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3

from enginewright.errors import WorkspaceError
from enginewright.remote.adapter import CHUNK
from enginewright.remote.address import Access, Address
from enginewright.remote.errors import RemoteError

_CONNECTIONS = 32
_HINTS = {
    401: "; set ENGINEWRIGHT_REMOTE_TOKEN or token-file, or a client certificate",
    403: "; what was shown to it does not allow this",
    405: "; it takes no PUT: is it a cache?",
    413: "; it does not take bodies of this size",
}


class HttpObjects:
    """The objects below a URL. ``timeout`` is in seconds, for a connection to be made, and for each pause in what comes."""

    def __init__(self, address: Address, access: Access, timeout: float) -> None:
        self._address = address
        self._url = str(address)
        context = None
        if address.scheme == "https":
            try:
                context = ssl.create_default_context(cafile=None if access.ca is None else str(access.ca))
                if access.certificate is not None:
                    context.load_cert_chain(access.certificate, access.key)
            except (OSError, ValueError) as error:
                raise WorkspaceError(f"{address}: its certificates cannot be used: {error}") from None
        self._pool = urllib3.PoolManager(
            maxsize=_CONNECTIONS,
            block=False,
            retries=False,
            timeout=urllib3.Timeout(connect=timeout, read=timeout),
            headers={"User-Agent": "enginewright", **access.headers(address)},
            ssl_context=context,
        )

    def describe(self) -> str:
        """Ask for what cannot be there: a cache says so."""
        self.has("cas/" + "0" * 64)
        return "HTTP cache"

    def has(self, name: str) -> bool:
        """HEAD."""
        with self._request("HEAD", name, "asking what it lacks") as response:
            return response.status != 404

    def get(self, name: str, sink: Callable[[bytes], object]) -> bool:
        """GET."""
        with self._request("GET", name, "reading") as response:
            if response.status == 404:
                return False
            for data in response.stream(CHUNK, decode_content=False):
                sink(data)
            return True

    def put(self, name: str, content: bytes | Path) -> None:
        """PUT."""
        if isinstance(content, bytes):
            with self._request("PUT", name, "writing", body=content):
                return
        with open(content, "rb") as file:
            length = {"Content-Length": str(os.fstat(file.fileno()).st_size)}
            with self._request("PUT", name, "writing", body=file, headers={**self._pool.headers, **length}):
                pass

    def close(self) -> None:
        """Close all connections."""
        self._pool.clear()

    @contextmanager
    def _request(self, method: str, name: str, doing: str, **more: object) -> Iterator[urllib3.BaseHTTPResponse]:
        try:
            response = self._pool.request(method, f"{self._url}/{name}", preload_content=False, redirect=False, **more)  # type: ignore[arg-type]
            try:
                _judge(response.status, f"{self._address} answered {response.status} while {doing} {name}", method)
                yield response
            finally:
                response.drain_conn()
                response.release_conn()
        except urllib3.exceptions.NewConnectionError as error:
            raise RemoteError(f"{self._address} cannot be reached: {_last(error)}", temporary=True) from None
        except urllib3.exceptions.TimeoutError:
            raise RemoteError(f"{self._address} did not answer in time while {doing} {name}", slow=True) from None
        except urllib3.exceptions.SSLError as error:
            raise RemoteError(f"{self._address}: no secure connection: {_last(error)}") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise RemoteError(f"{self._address} broke off while {doing} {name}: {_last(error)}", temporary=True) from None


def _judge(status: int, what: str, method: str) -> None:
    """Raise RemoteError unless a status is what it should be: found, put there, or, when reading, not there."""
    if status in (200, 201, 202, 204) or (status == 404 and method != "PUT"):
        return
    raise RemoteError(what + _HINTS.get(status, ""), temporary=status >= 500 or status == 429)


def _last(error: Exception) -> str:
    """What went wrong at the bottom of it, without the objects that Python shows on the way."""
    return str(error).rpartition(": ")[2].rstrip(")'\"")
