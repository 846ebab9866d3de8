"""Signatures of images and of statements about them, as Cosign writes them, in the registry that has the image.

A signature is over a small document with the digest of the image's manifest ("simple signing":
https://github.com/containers/image/blob/main/docs/containers-signature.5.md); a statement is in an envelope of its own (DSSE:
https://github.com/secure-systems-lab/dsse). Both are layers of images with the tags ``sha256-HEX.sig`` and ``sha256-HEX.att``
(https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md), and referrers of the image (OCI distribution-spec, "Referrers").
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enginewright.attest.statement import digests_of, sha256_of_bytes
from enginewright.errors import ActionError
from enginewright.oci.layout import Descriptor, canonical_json
from enginewright.oci.media import CONFIG, MANIFEST
from enginewright.oci.registry.errors import RegistryError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    from enginewright.attest.keys import Signer
    from enginewright.oci.registry.client import Repository

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
IN_TOTO = "application/vnd.in-toto+json"

_SIGNATURE = "dev.cosignproject.cosign/signature"
_TYPE = "cosign container image signature"
_ARTIFACTS = {".sig": "application/vnd.dev.cosign.artifact.sig.v1+json", ".att": "application/vnd.dev.cosign.artifact.att.v1+json"}
_EMPTY = "application/vnd.oci.empty.v1+json"

_LARGEST = 256 << 20
"""Bytes of a statement; all of one is in memory."""

_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What documents from a registry lead to that are not what they should be: anyone who may write there can have put them there."""


class SignatureProblem(ActionError):
    """An image is not signed as it should be."""


@dataclass(frozen=True)
class Signed:
    """What was put beside an image: its digest, and of signature and attestations the tags; ``new`` is how many were not there yet."""

    digest: str
    tags: Sequence[str]
    new: int


NOTHING = Signed("", (), 0)
"""Of an image that nobody signs."""


@dataclass(frozen=True)
class Checked:
    """What holds of an image: its digest, and the statements about it that the same key signed; and why others do not count."""

    digest: str
    statements: Sequence[Mapping[str, Any]]
    others: Sequence[str]


def sign_image(repository: Repository, digest: str, key: Signer, statements: Sequence[bytes] = ()) -> Signed:
    """Sign an image that a repository has, and statements about it. What this key signed before is not signed again.

    Raises SignatureProblem for an image that is not there, and for a statement about another; RegistryError.
    """
    described = repository.head_manifest(digest)
    if described is None:
        raise SignatureProblem(f"{repository} has no image {digest}: push it first")
    for each in map(json.loads, statements):
        if digest not in (about := digests_of(each)):
            raise SignatureProblem(f"a statement of type {each['predicateType']} is about {' and '.join(about)}, not about {digest}")
    public = key.public_key()
    signatures = [_Layer(SIMPLE_SIGNING, data := payload(str(repository), digest), {_SIGNATURE: _sign(key, data)})]
    envelopes = [
        _Layer(ENVELOPE, envelope(key, each), {_SIGNATURE: "", "predicateType": json.loads(each)["predicateType"]}) for each in statements
    ]
    new = _add(repository, described, ".sig", signatures, lambda layer: _signs(public, layer, digest))
    new += _add(repository, described, ".att", envelopes, lambda layer: _states(public, layer, digest)) if envelopes else 0
    return Signed(digest, [tag(digest, suffix) for suffix in ((".sig", ".att") if envelopes else (".sig",))], new)


def verify_image(repository: Repository, digest: str, key: EllipticCurvePublicKey) -> Checked:
    """Check that a key signed the image of a digest, and which statements about it.

    Raises SignatureProblem where there is no signature, or none of this key over this digest; RegistryError.
    """
    layers = _layers(repository, digest, ".sig")
    if not layers:
        raise SignatureProblem(f"{repository}@{digest} is not signed: there is no {tag(digest, '.sig')}")
    others: list[str] = []
    for layer in layers:
        found = _signs(key, layer, digest)
        if found is True:
            break
        others.append(str(found))
    else:
        raise SignatureProblem(f"{repository}@{digest}: none of its {len(layers)} signatures holds: {'; '.join(sorted(set(others)))}")
    stated = [_states(key, layer, digest) for layer in _layers(repository, digest, ".att")]
    return Checked(digest, [each for each in stated if isinstance(each, Mapping)], [each for each in stated if isinstance(each, str)])


def payload(name: str, digest: str) -> bytes:
    """The document that a signature is over."""
    critical = {"identity": {"docker-reference": name}, "image": {"docker-manifest-digest": digest}, "type": _TYPE}
    return canonical_json({"critical": critical, "optional": None})


def envelope(key: Signer, statement: bytes) -> bytes:
    """A statement in its envelope, signed."""
    signature = _sign(key, encoded(IN_TOTO, statement))
    body = base64.b64encode(statement).decode()
    return canonical_json({"payloadType": IN_TOTO, "payload": body, "signatures": [{"keyid": "", "sig": signature}]})


def encoded(payload_type: str, body: bytes) -> bytes:
    """What the signature of an envelope is over: DSSE, protocol.md, "PAE"."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)


def tag(digest: str, suffix: str) -> str:
    """The tag under which Cosign looks for what belongs to an image."""
    return digest.replace(":", "-") + suffix


@dataclass(frozen=True)
class _Layer:
    media_type: str
    data: bytes
    annotations: Mapping[str, str]


def _sign(key: Signer, data: bytes) -> str:
    return base64.b64encode(key.sign(data)).decode()


def _verifies(key: EllipticCurvePublicKey, signature: str, data: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        key.verify(base64.b64decode(signature, validate=True), data, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def _signs(key: EllipticCurvePublicKey, layer: _Layer, digest: str) -> bool | str:
    """Whether a layer is a signature of this key over a digest; else why not."""
    if layer.media_type != SIMPLE_SIGNING:
        return f"one is a {layer.media_type}"
    # First the signature: nothing that is not signed is even parsed.
    if not _verifies(key, layer.annotations.get(_SIGNATURE, ""), layer.data):
        return "it was made with another key, or changed"
    try:
        critical = json.loads(layer.data)["critical"]
        kind, found = critical["type"], critical["image"]["docker-manifest-digest"]
    except _MALFORMED:
        return "what it signs is no description of an image"
    if found != digest or kind != _TYPE:
        return f"it is of another image, {found}"
    return True


def _states(key: EllipticCurvePublicKey, layer: _Layer, digest: str) -> Mapping[str, Any] | str:
    """The statement in a layer that this key signed, about a digest; else why there is none."""
    try:
        found = json.loads(layer.data)
        kind, body = str(found["payloadType"]), base64.b64decode(found["payload"], validate=True)
        signatures = [str(each["sig"]) for each in found["signatures"]]
    except _MALFORMED:
        return "one is no envelope"
    if not any(_verifies(key, each, encoded(kind, body)) for each in signatures):
        return "one was made with another key, or changed"
    if kind != IN_TOTO:  # whatever the key signed for another purpose
        return f"one is a {kind}"
    try:
        statement: dict[str, Any] = json.loads(body)
        about = digests_of(statement)
    except _MALFORMED:
        return "what one signs is no statement"
    return statement if digest in about else f"one is about {' and '.join(about)}"


def _layers(repository: Repository, digest: str, suffix: str) -> list[_Layer]:
    """What a repository has of signatures, or attestations, of an image."""
    try:
        _, data = repository.get_manifest(tag(digest, suffix))
    except RegistryError as error:
        if error.status == 404:
            return []
        raise
    try:
        listed = [(Descriptor.from_json(each), dict(each.get("annotations") or {})) for each in json.loads(data)["layers"]]
    except _MALFORMED:
        raise SignatureProblem(f"{repository}:{tag(digest, suffix)} is no manifest of signatures") from None
    for each, _ in listed:
        if each.size > _LARGEST:
            raise SignatureProblem(
                f"{repository}:{tag(digest, suffix)} has a layer of {each.size} bytes: that is none of ours, take it away"
            )
    return [_Layer(each.media_type, repository.read_blob(each), annotations) for each, annotations in listed]


def _add(
    repository: Repository,
    image: Descriptor,
    suffix: str,
    layers: Sequence[_Layer],
    holds: Callable[[_Layer], bool | str | Mapping[str, Any]],
) -> int:
    """Add layers to what a repository has for an image, and return how many of them are new. Those of others stay."""
    there = _layers(repository, image.digest, suffix)
    good = {_content(each) for each in there if not isinstance(holds(each), str)}
    new = [each for each in layers if _content(each) not in good]
    if not new:
        return 0
    kept = [each for each in there if _content(each) not in {_content(each) for each in new} or isinstance(holds(each), str)]
    _put(repository, image, suffix, [*kept, *new])
    return len(new)


def _content(layer: _Layer) -> bytes:
    """What a layer says, without the signature, which is another each time."""
    if layer.media_type == ENVELOPE:
        with suppress(*_MALFORMED):
            return base64.b64decode(json.loads(layer.data)["payload"])
    return layer.data


def _put(repository: Repository, image: Descriptor, suffix: str, layers: Sequence[_Layer]) -> None:
    described = [{**repository.put_bytes(each.media_type, each.data).to_json(), "annotations": dict(each.annotations)} for each in layers]
    digests = [f"sha256:{sha256_of_bytes(each.data)}" for each in layers]
    config = {"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": digests}}
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": repository.put_bytes(CONFIG, canonical_json(config)).to_json(),
        "layers": described,
    }
    # The referrer first: the tag is what everybody looks for, so all is there once it is.
    referrer = {
        **manifest,
        "artifactType": _ARTIFACTS[suffix],
        "config": repository.put_bytes(_EMPTY, b"{}").to_json(),
        "subject": image.to_json(),
    }
    data = canonical_json(referrer)
    repository.put_manifest(f"sha256:{sha256_of_bytes(data)}", MANIFEST, data)
    repository.put_manifest(tag(image.digest, suffix), MANIFEST, canonical_json(manifest))
