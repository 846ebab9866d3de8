"""Real registries that want a login: with a password and a certificate of an own CA, and with tokens of a token service."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from enginewright.oci.layout import blob_path, read_image
from enginewright.oci.pull import pull
from enginewright.oci.push import push
from enginewright.oci.registry.client import Client
from enginewright.oci.registry.errors import RegistryError
from enginewright.oci.registry.reference import Reference
from enginewright.oci.registry.transport import Access
from registries import Registry, need, running
from scripted import Asked, Says, Server, scripted
from throwaway import Workspace


@pytest.fixture(autouse=True)
def logged_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The certificate of a CA, and a certificate for 127.0.0.1 that it signed, with its key."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run([need("openssl"), *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=a CA of our own")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=registry")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    openssl("x509", "-req", "-in", "server.csr", *signed, "-out", "server.pem")
    return folder / "ca.pem", folder / "server.pem", folder / "server.key"


HTPASSWD = "user:$2b$04$l93HmajTIDPPZ6axi3tYi.dwHai3EP0jEdP.TzTUcYCrjWf3JqYP.\n"
"""The password is secret: `htpasswd -nbB -C 4 user secret`, of bcrypt, which the registry wants."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, authority: tuple[Path, Path, Path]) -> Iterator[Registry]:
    """A registry with TLS, to which user logs in with secret."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "htpasswd").write_text(HTPASSWD)
    with running(folder, tls=authority[1:], auth=f"{{htpasswd: {{realm: test, path: {folder / 'htpasswd'}}}}}") as started:
        yield started


def log_in(folder: Path, host: str, password: str) -> None:
    auth = base64.b64encode(f"user:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))


def test_a_login_and_a_certificate(guarded: Registry, authority: tuple[Path, Path, Path], layout: Path, tmp_path: Path) -> None:
    to = Reference.parse(f"{guarded.host}/image:1")
    ours = Access(ca_file=authority[0])
    with pytest.raises(RegistryError, match=f"the certificate of {guarded.host} is not trusted .*unable to get local issuer certificate"):
        push(Client(), layout, to)
    with pytest.raises(RegistryError, match=f"with 401.*log in with `docker login {guarded.host}`"):
        push(Client(ours), layout, to)
    log_in(tmp_path, guarded.host, "wrong")
    with pytest.raises(RegistryError, match="with 401") as caught:
        push(Client(ours), layout, to)
    assert "wrong" not in str(caught.value)
    log_in(tmp_path, guarded.host, "secret")
    pushed = push(Client(ours), layout, to)
    assert set(pushed.outcomes.values()) == {"sent"}
    assert pull(Client(ours), to, tmp_path / "pulled").reference.digest == pushed.digest
    command = [need("skopeo"), "inspect", "--creds", "user:secret", "--tls-verify=false", f"docker://{to}"]
    subprocess.run(command, check=True, capture_output=True)


def test_a_base_behind_a_login(
    empty: Workspace, guarded: Registry, authority: tuple[Path, Path, Path], layout: Path, tmp_path: Path
) -> None:
    """The action sees the login and the certificates of whoever builds, and nothing of them is kept."""
    log_in(tmp_path, guarded.host, "secret")
    pushed = push(Client(Access(ca_file=authority[0])), layout, Reference.parse(f"{guarded.host}/base:1"))
    text = f'from enginewright import oci_base\noci_base(name="base", image="{guarded.host}/base@{pushed.digest}")\n'
    empty.write({"images/x/BUILD.py": text})
    empty.environment["DOCKER_CONFIG"] = str(tmp_path / "nowhere")
    assert "is not trusted" in empty.build(code=1).text
    empty.environment["SSL_CERT_FILE"] = str(authority[0])
    assert "with 401" in empty.build(code=1).text
    empty.environment["DOCKER_CONFIG"] = str(tmp_path)
    assert empty.build().built == {"images/x:base"}
    secret = base64.b64encode(b"user:secret")
    kept = [path for folder in (empty.store, empty.root / "build") for path in folder.rglob("*") if path.is_file()]
    assert kept and not [path for path in kept if secret in path.read_bytes() or str(authority[0]).encode() in path.read_bytes()]


class Tokens:
    """A token service: user has all rights in app and other, and what nobody logged in may do is to pull from app."""

    def __init__(self, certificate: Path, key: Path) -> None:
        der = x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(serialization.Encoding.DER)
        self._chain = base64.b64encode(der).decode()
        found = serialization.load_pem_private_key(key.read_bytes(), None)
        assert isinstance(found, ec.EllipticCurvePrivateKey)
        self._key = found
        self.lasts = 60.0

    def answer(self, asked: Asked) -> Says:
        """A token for the rights that are asked for and there are (https://distribution.github.io/distribution/spec/auth/jwt/)."""
        query = parse_qs(urlsplit(asked.path).query)
        login = asked.headers.get("Authorization", "")
        if login and login != "Basic " + base64.b64encode(b"user:secret").decode():
            return Says(401)
        access = []
        for scope in query.get("scope", []):
            kind, name, actions = scope.split(":")
            allowed = {"pull", "push"} if login and name in ("app", "other") else {"pull"} if name == "app" else set()
            access.append({"type": kind, "name": name, "actions": sorted(allowed & set(actions.split(",")))})
        now = time.time()
        claims = {
            "iss": "test",
            "sub": "user",
            "aud": query["service"][0],
            "iat": int(now) - 9,
            "nbf": int(now) - 9,
            "exp": now + self.lasts,
        }
        return Says(
            200, json.dumps({"token": self._sign({**claims, "exp": int(claims["exp"]), "jti": str(now), "access": access})}).encode()
        )

    def _sign(self, claims: object) -> str:
        """A JSON Web Token (RFC 7519) with an ES256 signature (RFC 7518, 3.4)."""
        head = {"typ": "JWT", "alg": "ES256", "x5c": [self._chain]}
        text = ".".join(_base64url(json.dumps(each).encode()) for each in (head, claims))
        r, s = utils.decode_dss_signature(self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{_base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.fixture
def tokens(tmp_path: Path, authority: tuple[Path, Path, Path]) -> Iterator[tuple[Registry, Server, Tokens]]:
    """A registry that takes the tokens of a service, and that."""
    service = Tokens(*authority[1:])
    with scripted(service.answer) as server:
        auth = f"{{token: {{realm: 'http://{server.host}/token', service: registry, issuer: test, rootcertbundle: {authority[0]}}}}}"
        with running(tmp_path / "registry", auth=auth) as registry:
            yield registry, server, service


def test_tokens(tokens: tuple[Registry, Server, Tokens], layout: Path, tmp_path: Path) -> None:
    registry, server, _ = tokens
    to = Reference.parse(f"{registry.host}/app:1")
    with pytest.raises(RegistryError, match="with 401"):
        push(Client(), layout, to)
    log_in(tmp_path, registry.host, "wrong")
    with pytest.raises(RegistryError, match="its token service refuses the login"):
        push(Client(), layout, to)
    log_in(tmp_path, registry.host, "secret")
    before = len(server.asked)
    pushed = push(Client(), layout, to)
    assert len(server.asked) == before + 1, "one token serves a whole push"
    # A mount needs the right to pull from the other repository, too.
    mounted = push(Client(), layout, Reference.parse(f"{registry.host}/other:1"), mounts=lambda digest: "app")
    assert set(mounted.outcomes.values()) == {"mounted"} and mounted.digest == pushed.digest
    with pytest.raises(RegistryError, match="with 401"):
        push(Client(), layout, Reference.parse(f"{registry.host}/forbidden:1"))
    # Anybody may pull from app, with a token that says so.
    (tmp_path / "config.json").unlink()
    assert pull(Client(), to, tmp_path / "pulled").reference.digest == pushed.digest
    with pytest.raises(RegistryError, match="with 401"):
        pull(Client(), Reference.parse(f"{registry.host}/other:1"), tmp_path / "refused")


def test_a_token_that_runs_out_in_the_middle(tokens: tuple[Registry, Server, Tokens], layout: Path, tmp_path: Path) -> None:
    """As between two blobs of some gigabytes: another one is asked for."""
    registry, server, service = tokens
    log_in(tmp_path, registry.host, "secret")
    service.lasts = -70  # the registry allows a minute, for clocks that differ
    client = Client()
    repository = client.repository(Reference.parse(f"{registry.host}/app"), push=True)
    with pytest.raises(RegistryError, match="with 401"):
        repository.head_manifest("1")
    service.lasts = 60
    assert repository.head_manifest("1") is None
    (layer,) = read_image(layout).layers
    repository.put_blob(layer, lambda offset: blob_path(layout, layer.digest).open("rb"))
    assert len(server.asked) >= 2
