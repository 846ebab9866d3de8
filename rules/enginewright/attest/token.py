"""Keys that never leave a token: a hardware security module, a smart card, or what stands in for one, by PKCS#11.

Named by a URI of RFC 7512, as ``pkcs11:token=release;object=signing?module-path=/usr/lib/softhsm/libsofthsm2.so``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, unquote_to_bytes

from enginewright.errors import WorkspaceError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

SCHEME = "pkcs11:"
MODULE = "PKCS11_MODULE_PATH"

_KNOWN = {"token", "serial", "object", "id", "type", "module-path"}


def parse(uri: str) -> dict[str, str]:
    """The attributes of a URI. Raises ValueError, saying what is wrong, without repeating a PIN."""
    path, _, query = uri.removeprefix(SCHEME).partition("?")
    found: dict[str, str] = {}
    for part in filter(None, (*path.split(";"), *query.split("&"))):
        name, equals, value = part.partition("=")
        if name in ("pin-value", "pin-source"):
            raise ValueError(f"has a {name}: the PIN is taken from ENGINEWRIGHT_KEY_PASSWORD, or asked for")
        if not equals or name not in _KNOWN:
            raise ValueError(f"{part!r} is no attribute of a key: there are {', '.join(sorted(_KNOWN))}")
        # An id is bytes, not a text.
        found[name] = unquote(value) if name != "id" else unquote_to_bytes(value).decode("latin-1")
    if "object" not in found and "id" not in found:
        raise ValueError("names no key: write pkcs11:token=TOKEN;object=LABEL")
    return found


class TokenKey:
    """A private key of a token, in a session that lasts as long as this object."""

    def __init__(self, uri: str, module: str, pin: str) -> None:
        """Raises WorkspaceError, in words, where module, token, PIN or key are not what they should be."""
        try:
            import pkcs11
        except ImportError:
            raise WorkspaceError("keys of a token need the distribution python-pkcs11: pip install python-pkcs11") from None
        named = parse(uri)
        module = named.get("module-path") or module
        if not module:
            raise WorkspaceError(f"key: which library speaks for the token? Set {MODULE}, or add ?module-path=/usr/lib/.../lib....so")
        which: dict[str, Any] = {"token_label": named["token"]} if "token" in named else {}
        if "serial" in named:
            which["token_serial"] = named["serial"].encode()
        select: dict[str, Any] = {"label": named["object"]} if "object" in named else {}
        if "id" in named:
            select["id"] = named["id"].encode("latin-1")
        errors: dict[type[Exception], str] = {
            pkcs11.NoSuchToken: "there is no such token",
            pkcs11.PinIncorrect: "the PIN is another",
            pkcs11.PinLocked: "the PIN is locked after too many wrong ones",
            pkcs11.NoSuchKey: "the token has no such key, or not both of its halves",
            pkcs11.MultipleObjectsReturned: "there are several such keys: name the id too",
            pkcs11.MultipleTokensReturned: "there are several such tokens: name the serial too",
        }
        try:
            self._session = pkcs11.lib(module).get_token(**which).open(user_pin=pin)
            self._private: Any = self._session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, **select)
            self._public: Any = self._session.get_key(object_class=pkcs11.ObjectClass.PUBLIC_KEY, **select)
        except pkcs11.PKCS11Error as error:
            reason = next((words for kind, words in errors.items() if isinstance(error, kind)), f"{type(error).__name__} {error}".strip())
            raise WorkspaceError(f"key: {uri}: {reason}") from None
        self.public_key()

    def sign(self, data: bytes) -> bytes:
        """An ECDSA signature of data with SHA-256, in DER."""
        import pkcs11
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        raw = self._private.sign(hashlib.sha256(data).digest(), mechanism=pkcs11.Mechanism.ECDSA)
        half = len(raw) // 2
        return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))

    def public_key(self) -> EllipticCurvePublicKey:
        """The public half. Raises WorkspaceError for a key that is not on P-256."""
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_der_public_key
        from pkcs11.util.ec import encode_ec_public_key

        try:
            key = load_der_public_key(encode_ec_public_key(self._public))
        except Exception:  # whatever a key of another kind lacks
            key = None
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise WorkspaceError("key: that of the token is no key on the curve P-256, which Cosign's signatures are made with")
        return key
