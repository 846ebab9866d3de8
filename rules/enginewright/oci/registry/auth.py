"""Answering a registry's challenge: basic authentication, and tokens.

The token flow is that of https://distribution.github.io/distribution/spec/auth/token/ and, with an identity token, of
https://distribution.github.io/distribution/spec/auth/oauth/.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Collection, Mapping
from typing import Protocol
from urllib.parse import urlencode, urlsplit

from enginewright.oci.layout import read_json
from enginewright.oci.registry.credentials import Credentials, find_credentials, shown
from enginewright.oci.registry.errors import RegistryError, refusal
from enginewright.oci.registry.transport import Answer, is_address

_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"([^"]*)"|([^\s,]+))')


class Ask(Protocol):
    """One small request: its method, its address, its headers and its body."""

    def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer: ...


class Authenticator:
    """What one registry wants to see in ``Authorization``, learnt from its challenges. Any number of threads may use it.

    Credentials are looked up at the first challenge, so a registry that asks for none never makes a helper run.
    """

    def __init__(self, registry: str, ask: Ask) -> None:
        self._registry = registry
        self._ask = ask
        self._lock = threading.Lock()
        self._looked_up = False
        self._credentials: Credentials | None = None
        self._headers: dict[frozenset[str], str] = {}

    def header(self, scopes: Collection[str]) -> str | None:
        """The value for a request within these scopes (as ``repository:team/app:pull``), as far as it is known by now."""
        return self._headers.get(frozenset(scopes))

    def answer(self, challenges: Collection[str], scopes: Collection[str], refused: str | None) -> bool:
        """Take note of what a 401 asks for (its WWW-Authenticate headers); whether there is anything new to try.

        ``refused`` is the header that the request had. Raises RegistryError when the token service refuses the credentials.
        """
        key = frozenset(scopes)
        with self._lock:
            if self._headers.get(key) not in (None, refused):
                return True  # another thread was faster
            for challenge in challenges:
                scheme, _, rest = challenge.strip().partition(" ")
                parameters = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(rest)}
                if scheme.lower() == "bearer" and "realm" in parameters:
                    self._headers[key] = f"Bearer {self._token(parameters, scopes)}"
                    return self._headers[key] != refused
                login = self._login() if scheme.lower() == "basic" else None
                if login and login.username:
                    self._headers[key] = _basic(login)
                    return self._headers[key] != refused
            return False

    def _login(self) -> Credentials | None:
        if not self._looked_up:
            self._credentials = find_credentials(self._registry)
            self._looked_up = True
        return self._credentials

    def _token(self, challenge: Mapping[str, str], scopes: Collection[str]) -> str:
        realm, service = challenge["realm"], challenge.get("service", "")
        if not is_address(realm):
            raise RegistryError(f"{self._registry} names {realm!r} as its token service, which is no address")
        login = self._login()
        wanted = sorted(scopes)
        query: list[tuple[str, str]] = [("service", service)] if service else []
        if login and login.identity_token:
            form = [("grant_type", "refresh_token"), *query, ("client_id", "enginewright"), ("scope", " ".join(wanted))]
            body = urlencode([*form, ("refresh_token", login.identity_token)]).encode()
            answer = self._ask("POST", realm, {"Content-Type": "application/x-www-form-urlencoded"}, body)
        else:
            query += [("scope", scope) for scope in wanted]
            headers = {"Authorization": _basic(login)} if login else {}
            answer = self._ask("GET", f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}", headers)
        if answer.status in (401, 403) and login:
            raise RegistryError(
                f"{self._registry}: its token service refuses the login in Docker's configuration: `docker login {shown(self._registry)}`",
                answer.status,
            )
        if answer.status != 200:
            raise refusal(answer.status, answer.headers, answer.body, "a request for a token", self._registry)
        try:
            granted = read_json(answer.body)
            token = granted.get("token") or granted["access_token"]
        except (ValueError, LookupError, AttributeError):
            token = None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise RegistryError(f"{self._registry}: its token service {urlsplit(realm).netloc} answered with something other than a token")
        return token


def _basic(login: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
