"""`doit sign` and `doit check-signature` with a real registry, and signatures that openssl and securesystemslib verify."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from enginewright.attest.keys import load_private
from enginewright.attest.signature import IN_TOTO, encoded
from enginewright.oci.layout import Descriptor
from enginewright.oci.media import MANIFEST
from enginewright.oci.registry.client import Client, Repository
from enginewright.oci.registry.reference import Reference
from registries import Registry, need
from throwaway import Workspace

BUILD = """
from enginewright import files_layer, image, provenance, sign

files_layer(name="layer", files={"/src": "src.txt"})
image(name="image", layers=[":layer"])
provenance(name="provenance", subject=":image")
sign(name="signed", subject=":image", attestations=[":provenance"], key="file:release.pem")
"""
PASSWORD = "a password of the tests"


def make_key(folder: Path, name: str) -> None:
    """A key with a password, and its public half, as docs/signatures.md has them made."""
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes256", "-pass", f"pass:{PASSWORD}", "-out", private)
    openssl("pkey", "-in", private, "-passin", f"pass:{PASSWORD}", "-pubout", "-out", public)


def openssl(*arguments: str | Path, code: int = 0) -> str:
    done = subprocess.run([need("openssl"), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.fixture
def workspace(empty: Workspace) -> Workspace:
    empty.write({"models/x/BUILD.py": BUILD, "models/x/src.txt": "one\n"})
    for name in ("release", "other"):
        make_key(empty.root, name)
    empty.environment["ENGINEWRIGHT_KEY_PASSWORD"] = PASSWORD
    return empty


@pytest.fixture
def to(registry: Registry, request: pytest.FixtureRequest) -> str:
    return f"{registry.host}/{request.node.name.replace('_', '-')}"


def pushed(workspace: Workspace, to: str) -> str:
    """Push and sign; the digest."""
    told = json.loads(workspace.doit("push", "models/x:image", "--to", f"{to}:1", "--json").stdout)
    workspace.doit("sign", "models/x:signed", "--to", to)
    return str(told["images"][0]["digest"])


def repository(to: str) -> Repository:
    return Client().repository(Reference.parse(to), push=True)


def layer(to: str, tag: str) -> tuple[dict[str, Any], bytes]:
    """The one layer of what a tag names: its descriptor and its bytes."""
    _, data = repository(to).get_manifest(tag)
    (described,) = json.loads(data)["layers"]
    return described, repository(to).read_blob(Descriptor.from_json(described))


def check(workspace: Workspace, *arguments: str, key: str = "release.pub", code: int = 0) -> str:
    done = workspace.doit("check-signature", *arguments, "--key", key, code=code)
    return done.stdout if code == 0 else done.stderr


def test_signed(workspace: Workspace, to: str) -> None:
    digest = pushed(workspace, to)
    out = check(workspace, f"{to}:1", "--type", "https://slsa.dev/provenance/v1")
    assert out == f"{to}@{digest} is signed with release.pub\n  states  https://slsa.dev/provenance/v1\n"
    assert check(workspace, "models/x:image", "--at", to) == out
    assert check(workspace, f"{to}@{digest}") == out
    again = workspace.doit("sign", "models/x:signed", "--to", to).stdout
    assert again == f"{to}@{digest} is signed, with 1 statement (it was already)\n"


def test_openssl_verifies(workspace: Workspace, to: str, tmp_path: Path) -> None:
    digest = pushed(workspace, to)
    described, payload = layer(to, digest.replace(":", "-") + ".sig")
    assert json.loads(payload)["critical"] == {
        "identity": {"docker-reference": to}, "image": {"docker-manifest-digest": digest}, "type": "cosign container image signature",
    }  # fmt: skip
    (tmp_path / "payload").write_bytes(payload)
    (tmp_path / "signature").write_bytes(base64.b64decode(described["annotations"]["dev.cosignproject.cosign/signature"]))
    verify = ["dgst", "-sha256", "-verify", workspace.root / "release.pub", "-signature", tmp_path / "signature", tmp_path / "payload"]
    assert openssl(*verify) == "Verified OK\n"
    (tmp_path / "payload").write_bytes(payload.replace(b"cosign", b"Cosign"))
    openssl(*verify, code=1)


def test_securesystemslib_verifies(workspace: Workspace, to: str) -> None:
    digest = pushed(workspace, to)
    described, data = layer(to, digest.replace(":", "-") + ".att")
    assert described["mediaType"] == "application/vnd.dsse.envelope.v1+json"
    envelope = Envelope.from_dict(json.loads(data))
    key = SSlibKey("", "ecdsa", "ecdsa-sha2-nistp256", {"public": (workspace.root / "release.pub").read_text()})
    assert envelope.verify([key], 1)
    statement = json.loads(envelope.payload)
    assert statement == json.loads(workspace.read("build/models/x/provenance.json"))
    assert statement["subject"][0]["digest"]["sha256"] == digest.removeprefix("sha256:")


def test_a_referrer_of_the_image(workspace: Workspace, to: str) -> None:
    digest = pushed(workspace, to)
    types = {each["artifactType"] for each in repository(to).referrers(digest)}
    assert types == {"application/vnd.dev.cosign.artifact.sig.v1+json", "application/vnd.dev.cosign.artifact.att.v1+json"}


def test_two_keys(workspace: Workspace, to: str) -> None:
    pushed(workspace, to)
    assert "it was made with another key, or changed" in check(workspace, f"{to}:1", key="other.pub", code=1)
    workspace.doit("sign", "models/x:signed", "--to", to, "--key", "file:other.pem")
    for name in ("other", "release"):
        assert "states  https://slsa.dev/provenance/v1" in check(workspace, f"{to}:1", key=f"{name}.pub")


def test_no_signature(workspace: Workspace, to: str) -> None:
    workspace.doit("push", "models/x:image", "--to", f"{to}:1")
    assert f"{to}@sha256:" in check(workspace, f"{to}:1", code=1)
    assert "is not signed: there is no sha256-" in check(workspace, f"{to}:1", code=1)
    assert "has no 2" in check(workspace, f"{to}:2", code=1)


def test_a_manifest_that_was_changed(workspace: Workspace, to: str) -> None:
    digest = pushed(workspace, to)
    _, data = repository(to).get_manifest(digest)
    changed = json.dumps({**json.loads(data), "annotations": {"x": "y"}}).encode()
    repository(to).put_manifest("1", MANIFEST, changed)
    assert "is not signed" in check(workspace, f"{to}:1", code=1)
    check(workspace, f"{to}@{digest}")


def test_the_signature_of_another_image(workspace: Workspace, to: str) -> None:
    digest = pushed(workspace, to)
    workspace.write({"models/x/src.txt": "two\n"})
    told = json.loads(workspace.doit("push", "models/x:image", "--to", f"{to}:2", "--json").stdout)
    other = str(told["images"][0]["digest"])
    for suffix in (".sig", ".att"):
        _, data = repository(to).get_manifest(digest.replace(":", "-") + suffix)
        repository(to).put_manifest(other.replace(":", "-") + suffix, MANIFEST, data)
    assert f"it is of another image, {digest}" in check(workspace, f"{to}:2", code=1)


def test_a_statement_about_another_image(workspace: Workspace, to: str) -> None:
    digest = pushed(workspace, to)
    workspace.write({"models/x/src.txt": "two\n"})
    told = json.loads(workspace.doit("push", "models/x:image", "--to", f"{to}:2", "--json").stdout)
    workspace.write({"models/x/BUILD.py": BUILD.replace('attestations=[":provenance"], ', "")})
    workspace.doit("sign", "models/x:signed", "--to", to)
    _, data = repository(to).get_manifest(digest.replace(":", "-") + ".att")
    repository(to).put_manifest(told["images"][0]["digest"].replace(":", "-") + ".att", MANIFEST, data)
    assert "states" not in check(workspace, f"{to}:2")
    assert "no signed statement of type https://slsa.dev/provenance/v1" in check(
        workspace, f"{to}:2", "--type", "https://slsa.dev/provenance/v1", code=1
    )


def test_what_is_no_statement_of_the_image(workspace: Workspace, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies beside an image, put there by whoever may write to the registry, does not count, stops nobody and is kept."""
    digest = pushed(workspace, to)
    monkeypatch.setenv("ENGINEWRIGHT_KEY_PASSWORD", PASSWORD)
    key = load_private(f"file:{workspace.root / 'release.pem'}")
    tag = digest.replace(":", "-") + ".att"
    described, data = layer(to, tag)
    statement = json.loads(base64.b64decode(json.loads(data)["payload"]))
    kind = statement["predicateType"]

    def signed(said: Any, media_type: str = IN_TOTO) -> bytes:
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        signature = base64.b64encode(key.sign(encoded(media_type, body))).decode()
        return json.dumps(
            {"payloadType": media_type, "payload": base64.b64encode(body).decode(), "signatures": [{"sig": signature}]}
        ).encode()

    cases = {
        b"": "one is no envelope",
        b"[1]": "one is no envelope",
        b"[" * 100_000: "one is no envelope",
        b'{"payloadType": 1, "payload": 2, "signatures": 3}': "one is no envelope",
        data[:-40]: "one is no envelope",
        data.replace(b'"sig":"M', b'"sig":"N'): "one was made with another key, or changed",
        signed(statement, "text/plain"): "one is a text/plain",
        signed(b"[" * 100_000): "what one signs is no statement",
        signed([statement]): "what one signs is no statement",
        signed({**statement, "_type": "https://example.org"}): "what one signs is no statement",
        signed({**statement, "predicateType": None}): "what one signs is no statement",
        signed({**statement, "subject": ["x"]}): "what one signs is no statement",
        signed({**statement, "subject": [{"digest": {"sha256": "0"}}]}): "one is about sha256:0",
    }
    manifest = json.loads(repository(to).get_manifest(tag)[1])
    for blob, problem in cases.items():
        put = repository(to).put_bytes(described["mediaType"], blob).to_json()
        repository(to).put_manifest(tag, MANIFEST, json.dumps({**manifest, "layers": [put]}).encode())
        assert check(workspace, f"{to}:1") == f"{to}@{digest} is signed with release.pub\n"
        said = check(workspace, f"{to}:1", "--type", kind, code=1)
        assert said.endswith(f"there is no signed statement of type {kind}; others do not count: {problem}\n"), said
    workspace.doit("sign", "models/x:signed", "--to", to)
    assert f"states  {kind}" in check(workspace, f"{to}:1")
    assert len(json.loads(repository(to).get_manifest(tag)[1])["layers"]) == 2


def test_a_layer_that_is_too_large_for_a_signature(workspace: Workspace, to: str) -> None:
    digest = pushed(workspace, to)
    tag = digest.replace(":", "-") + ".att"
    manifest = json.loads(repository(to).get_manifest(tag)[1])
    manifest["layers"][0]["size"] = 1 << 40
    repository(to).put_manifest(tag, MANIFEST, json.dumps(manifest).encode())
    assert f"{tag} has a layer of {1 << 40} bytes" in check(workspace, f"{to}:1", code=1)


def test_a_key_in_a_variable_and_none_of_it_anywhere(workspace: Workspace, to: str) -> None:
    secret = (workspace.root / "release.pem").read_text()
    (workspace.root / "release.pem").unlink()
    workspace.write({"models/x/BUILD.py": BUILD.replace("file:release.pem", "env:SIGNING_KEY")})
    workspace.environment["SIGNING_KEY"] = secret
    pushed(workspace, to)
    check(workspace, f"{to}:1")
    body = secret.splitlines()[1]
    for folder in (workspace.root / "build", workspace.store):
        for path in folder.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert body.encode() not in data and PASSWORD.encode() not in data, path


@pytest.fixture
def token(workspace: Workspace, tmp_path: Path) -> str:
    """The URI of a key in a token of SoftHSM, whose PIN is the password; its public half is token.pub."""
    util = need("softhsm2-util")
    library = next(path for path in map(Path, LIBRARIES) if path.exists())
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\nobjectstore.backend = file\n")
    workspace.environment["SOFTHSM2_CONF"] = str(tmp_path / "softhsm2.conf")
    openssl("pkey", "-in", workspace.root / "release.pem", "-passin", f"pass:{PASSWORD}", "-out", tmp_path / "plain.pem")
    pins = ["--pin", PASSWORD, "--so-pin", "an officer"]
    for command in (
        ["--init-token", "--free", "--label", "release", *pins],
        ["--import", str(tmp_path / "plain.pem"), "--token", "release", "--label", "signing", "--id", "01", "--pin", PASSWORD],
    ):
        subprocess.run([util, *command], env=workspace.environment, check=True, capture_output=True)
    return f"pkcs11:token=release;object=signing?module-path={library}"


LIBRARIES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so")


def test_a_key_in_a_token(workspace: Workspace, to: str, token: str) -> None:
    workspace.write({"models/x/BUILD.py": BUILD.replace("file:release.pem", token)})
    pushed(workspace, to)
    assert "states  https://slsa.dev/provenance/v1" in check(workspace, f"{to}:1")  # with the public half that openssl wrote
    bare, _, module = token.partition("?module-path=")
    slots = subprocess.run([need("softhsm2-util"), "--show-slots"], env=workspace.environment, check=True, text=True, capture_output=True)
    serial = slots.stdout.partition("Serial number:")[2].split()[0]
    for named in (f"pkcs11:serial={serial};object=signing", "pkcs11:token=release;id=%01"):
        again = workspace.doit("sign", "models/x:signed", "--to", to, f"--key={named}?module-path={module}").stdout
        assert "it was already" in again

    def refusal(key: str) -> str:
        return workspace.doit("sign", "models/x:signed", "--to", to, f"--key={key}", code=3).stderr

    assert "there is no such token" in refusal(token.replace("token=release", "token=other"))
    assert "there is no such token" in refusal(token.replace("token=release", "serial=0"))
    assert "the token has no such key" in refusal(token.replace("object=signing", "object=other"))
    assert "the token has no such key" in refusal(token.replace("object=signing", "id=%f0%9f%80"))
    assert "which library speaks for the token? Set PKCS11_MODULE_PATH" in refusal(bare)
    assert "has a pin-value: the PIN is taken from ENGINEWRIGHT_KEY_PASSWORD" in refusal(f"{bare}?pin-value=1234")
    assert "cannot open shared object file" in refusal(f"{bare}?module-path=/nowhere.so")
    workspace.environment |= {"PKCS11_MODULE_PATH": module, "ENGINEWRIGHT_KEY_PASSWORD": "wrong"}
    assert "the PIN is another" in refusal(bare)


def test_keys_that_will_not_do(workspace: Workspace, to: str) -> None:
    def refusal(key: str) -> str:
        done = workspace.doit("sign", "models/x:signed", "--to", to, f"--key={key}", code=3)
        assert PASSWORD not in done.stdout + done.stderr
        return done.stderr

    assert "key: missing.pem: No such file or directory" in refusal("file:missing.pem")
    assert "key: the variable MISSING is not set" in refusal("env:MISSING")
    assert "awskms: keys in key services are not supported" in refusal("awskms:///alias/release")
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", workspace.root / "p384.pem")
    assert "is no key on the curve P-256" in refusal("file:p384.pem")
    (workspace.root / "p384.pem").chmod(0o644)
    assert "has no password, and others may read it: chmod 600" in refusal("file:p384.pem")
    assert "key: file:release.pub holds a public key, and signatures are made with the private one" in refusal("file:release.pub")
    for text in ("", "half of a key", "-----BEGIN CERTIFICATE-----\n"):
        workspace.write({"none.pem": text})
        assert "key: file:none.pem holds no private key in PEM format" in refusal("file:none.pem")
    (workspace.root / "none.pem").write_bytes((workspace.root / "p384.pem").read_bytes()[:80])
    (workspace.root / "none.pem").chmod(0o600)
    assert "key: file:none.pem holds a private key that is damaged" in refusal("file:none.pem")
    workspace.environment["SIGNING_KEY"] = "\udcff"
    assert "key: env:SIGNING_KEY holds no private key in PEM format" in refusal("env:SIGNING_KEY")
    workspace.environment["ENGINEWRIGHT_KEY_PASSWORD"] = "wrong"
    done = workspace.doit("sign", "models/x:signed", "--to", to, code=3)
    assert "key: file:release.pem has another password, or is damaged" in done.stderr
    del workspace.environment["ENGINEWRIGHT_KEY_PASSWORD"]
    assert "has a password: set ENGINEWRIGHT_KEY_PASSWORD" in workspace.doit("sign", "models/x:signed", "--to", to, code=3).stderr


def test_mistakes(workspace: Workspace, to: str) -> None:
    for named, problem in (
        ("layer", "attestations: models/x:layer says nothing of an image: name a provenance() or an sbom()"),
        ("image", "attestations: models/x:image is what is signed: name statements about it"),
    ):
        workspace.write({"models/x/BUILD.py": BUILD.replace('attestations=[":provenance"]', f'attestations=[":{named}"]')})
        assert workspace.refuse("build") == f"models/x/BUILD.py:6: sign(name='signed'): {problem}"
    workspace.write({"models/x/BUILD.py": BUILD})
    assert "models/x:image is an image: name a sign()" in workspace.refuse("sign", "models/x:image", "--to", to)
    assert workspace.refuse("check-signature", f"{to}:1").startswith("doit check-signature: say what, and with which public key")
    gone = workspace.refuse("check-signature", "127.0.0.1:1/x:1", "--key", "release.pub")
    assert gone == "the connection to 127.0.0.1:1 failed: Connection refused"
    assert "is a private key, and signatures are checked with the public one" in workspace.refuse(
        "check-signature", f"{to}:1", "--key", "release.pem"
    )
    assert workspace.refuse("check-signature", "models/x:image", "--key", "release.pub") == (
        "models/x:image is a target here: say with --at REGISTRY/NAME where its image is"
    )
    assert "models/x is no label" in workspace.refuse("check-signature", "models/x", "--at", to, "--key", "release.pub")
    done = workspace.doit("sign", "models/x:signed", "--to", to, code=1)
    assert "push it first" in done.stderr
    workspace.write({"models/x/BUILD.py": BUILD.replace("file:release.pem", r"file:release\0.pem")})
    assert r"key: 'file:release\x00.pem' cannot be the name of a key" in workspace.refuse("build")
    workspace.write({"models/x/BUILD.py": BUILD.replace("file:release.pem", "-----BEGIN EC PRIVATE KEY-----")})
    text = workspace.refuse("build")
    assert "key: is a key itself" in text and "BEGIN" not in text
