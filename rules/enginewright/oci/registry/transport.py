"""HTTP as registries need it: verified TLS, plain HTTP only where it is safe or asked for, bodies that are streamed.

One request and its answer; trying again is for those who know what may be sent twice.
"""

from __future__ import annotations

import http.client
import ipaddress
import ssl
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError, ProxyError, SSLError

from enginewright.oci.registry.errors import Cancelled, RegistryError, Transient, in_a_line

CHUNK = 1 << 20
_LARGEST_TEXT = 8 << 20
"""Bytes of an answer that is read as a whole: a manifest (registries need not take more than 4 MiB), a token, an error."""

_CERTIFICATES = Path("/etc/docker/certs.d")
_TIMEOUT = urllib3.Timeout(connect=15, read=300)
"""Seconds. A registry reads a blob of gigabytes once more before it answers that it has it."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Access:
    """How registries may be reached: with certificates that ``ca_file`` (PEM) vouches for too, or without TLS (``plain_http``)."""

    plain_http: bool = False
    ca_file: Path | None = None


class Answer(NamedTuple):
    """A status, headers, and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Body: TypeAlias = bytes | Iterable[bytes] | None
"""What can be sent: all at once, or in pieces as they are made; then a Content-Length must be among the headers."""


class Transport:
    """Connections to any number of hosts, shared by any number of threads until ``cancelled`` is set."""

    def __init__(self, access: Access, cancelled: threading.Event) -> None:
        self._access = access
        self._cancelled = cancelled
        self._pools: dict[tuple[str, str], urllib3.PoolManager] = {}
        self._schemes: dict[str, str] = {}
        self._lock = threading.Lock()

    def url(self, host: str, path: str) -> str:
        """The address of ``path`` at ``host``, by the scheme that is known, or believed, to be right there."""
        return f"{self._scheme(host)}://{host}{path}"

    def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """A request with a small body, and the whole answer. Raises as `send` does."""
        return whole(self.send(method, url, headers, body))

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Body = None) -> urllib3.BaseHTTPResponse:
        """One request, and the answer with its body still to be read; GET and HEAD follow redirections.

        ``Authorization`` goes to the host of ``url`` only. Raises Transient for a connection that cannot be made or breaks, RegistryError
        for a certificate that is not trusted and for plain HTTP where it is not allowed, Cancelled.
        """
        for _ in range(5):
            response = self._send(method, url, headers, body)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or method not in ("GET", "HEAD") or not location:
                return response
            response.drain_conn()
            target = join(url, location)
            if origin(target) != origin(url):
                headers = {name: value for name, value in headers.items() if name != "Authorization"}
            url = target
        raise RegistryError(f"{urlsplit(url).netloc} redirects again and again")

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Body) -> urllib3.BaseHTTPResponse:
        if self._cancelled.is_set():
            raise Cancelled
        host = urlsplit(url).netloc
        if self._schemes.get(host) == "https":  # an address from before that was known
            url = "https" + url.removeprefix("https").removeprefix("http")
        parts = urlsplit(url)
        if parts.scheme != "https" and not (self._access.plain_http or is_loopback(host)):
            raise RegistryError(f"{host} is only to be had by plain HTTP, which others can read and change: ask for that, if it must be")
        first = parts.scheme == "http" and host not in self._schemes
        try:
            response = self._pool(parts.scheme, host).request(
                method, url, headers=dict(headers), body=body, preload_content=False, decode_content=False, redirect=False, retries=False,
                timeout=_TIMEOUT,
            )  # fmt: skip
        except LocationParseError as error:
            raise RegistryError(f"{url!r} is no address: {error}") from None
        except SSLError as error:
            raise _distrust(host, error) from None
        except (HTTPError, OSError) as error:
            if first and self._speaks_tls(host):
                return self._send(method, "https" + url.removeprefix("http"), headers, body)
            raise dropped(host, error) from None
        if first and response.status == 400 and self._speaks_tls(host):
            response.close()
            return self._send(method, "https" + url.removeprefix("http"), headers, body)
        self._schemes.setdefault(host, parts.scheme)
        return response

    def _scheme(self, host: str) -> str:
        if host in self._schemes:
            return self._schemes[host]
        # On this machine, plain HTTP is tried first: nobody else hears what is said, and a server that wants TLS says so.
        return "http" if self._access.plain_http or is_loopback(host) else "https"

    def _speaks_tls(self, host: str) -> bool:
        """Whether a server that did not understand plain HTTP understands TLS, with whatever certificate; it is spoken from then on."""
        import socket

        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent over this connection
        parts = urlsplit(f"//{host}")
        try:
            with socket.create_connection((parts.hostname or "", parts.port or 443), 5) as plain, context.wrap_socket(plain):
                self._schemes[host] = "https"
                return True
        except OSError:
            return False

    def _pool(self, scheme: str, host: str) -> urllib3.PoolManager:
        with self._lock:
            if (scheme, host) not in self._pools:
                # Reading the system's certificates takes longer than a request on this machine.
                context = _trust(host, self._access.ca_file) if scheme == "https" else None
                self._pools[scheme, host] = _manager(scheme, host, context)
            return self._pools[scheme, host]


def whole(response: urllib3.BaseHTTPResponse) -> Answer:
    """An answer with its body read to the end. Raises Transient, and RegistryError for a body that is too large to be read so."""
    host = urlsplit(response.url or "").netloc or "the registry"
    try:
        body = response.read(_LARGEST_TEXT + 1)
        while body and len(body) <= _LARGEST_TEXT and (more := response.read(_LARGEST_TEXT)):
            body += more
    except (HTTPError, OSError) as error:
        raise dropped(host, error) from None
    if len(body) > _LARGEST_TEXT:
        response.close()
        raise RegistryError(f"{host} answers with more than {_LARGEST_TEXT >> 20} MiB where a manifest or a message was expected")
    response.release_conn()
    return Answer(response.status, response.headers, body)


def dropped(host: str, error: BaseException) -> Transient:
    """A connection that could not be made, or broke; in the words of the innermost of the errors that led to this one."""
    by_proxy = ", by the proxy that the environment names," if isinstance(error, ProxyError) else ""
    cause = error
    while inner := next((each for each in cause.args if isinstance(each, BaseException)), None) or cause.__cause__ or cause.__context__:
        cause = inner
    if isinstance(cause, http.client.IncompleteRead):
        return Transient(f"the connection to {host} broke off {cause.expected} bytes too early")
    reason = (cause.strerror if isinstance(cause, OSError) else None) or in_a_line(str(cause)).strip() or type(cause).__name__
    return Transient(f"the connection to {host}{by_proxy} failed: {reason}")


def is_address(url: str) -> bool:
    """Whether a server's word is the whole address of something to be had by HTTP."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def join(base: str, named: str) -> str:
    """An address as the server at ``base`` named it, whole. Raises RegistryError for what is none."""
    try:
        url = urljoin(base, named)
    except ValueError:
        url = ""
    if not is_address(url):
        raise RegistryError(f"{urlsplit(base).netloc} names {named[:200]!r} as an address, which is none")
    return url


def origin(url: str) -> tuple[str, str]:
    """The scheme and the host of an address: who gets what is sent there."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine by its name or address alone."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _distrust(host: str, error: SSLError) -> RegistryError:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate" in text.lower():
        reason = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0] or text
        return RegistryError(
            f"the certificate of {host} is not trusted ({reason}): if a CA of your own signed it, name that with --ca, or put it into"
            f" /etc/docker/certs.d/{host}/ca.crt"
        )
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text.lower():
        return RegistryError(f"{host} does not speak TLS: say --plain-http, or plain_http=True of a base, if it must be")
    return Transient(f"the connection to {host} failed: {text}")


def _trust(host: str, ca_file: Path | None) -> ssl.SSLContext:
    """The system's certificates, and those for this host where Docker keeps them: ``HOST/*.crt``, and ``*.cert`` with a ``*.key``."""
    context = ssl.create_default_context()
    folder = _CERTIFICATES / host
    try:
        for path in [*([ca_file] if ca_file else []), *sorted(folder.glob("*.crt"))]:
            context.load_verify_locations(path)
        for path in sorted(folder.glob("*.cert")):
            context.load_cert_chain(path, path.with_suffix(".key"))
    except OSError as error:
        raise RegistryError(f"{path} holds no certificates in PEM that can be read: {error.strerror or error}") from None
    return context


def _manager(scheme: str, host: str, context: ssl.SSLContext | None) -> urllib3.PoolManager:
    """Connections to a host, by way of the proxy that the environment names for it."""
    named = None if is_loopback(host) or proxy_bypass(host) else getproxies().get(scheme)
    if not named:
        return urllib3.PoolManager(ssl_context=context, blocksize=CHUNK, maxsize=16)
    try:
        url = named if "://" in named else f"http://{named}"  # as curl and Docker read it
        parts = urlsplit(url)
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
        headers = urllib3.make_headers(proxy_basic_auth=login)
        return urllib3.ProxyManager(url, proxy_headers=headers, ssl_context=context, blocksize=CHUNK, maxsize=16)
    except (ValueError, HTTPError):  # it is not shown: there may be a password in it
        raise RegistryError(
            f"what the variable {scheme}_proxy names is no proxy by which {host} can be reached: write http://HOST:PORT"
        ) from None
