"""Names of images in registries, as Docker reads them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

DOCKER_HUB = "docker.io"

_COMPONENT = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(f"{_COMPONENT}(?:/{_COMPONENT})*")
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:\[([0-9A-Fa-f:.]+)\]|{_LABEL}(?:\.{_LABEL})*)(?::([0-9]{{1,5}}))?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Reference:
    """``REGISTRY/REPOSITORY``, a ``tag`` or a ``digest`` (``sha256:`` and 64 hexadecimal digits), or both; a digest wins.

    The grammar is that of distribution's reference package (https://github.com/distribution/reference), which Docker uses.
    """

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference. Without a registry it is one of Docker Hub, and without a tag and a digest it names none.

        Raises ValueError, saying what is wrong with it.
        """
        if scheme := re.match("[a-z]+://", text):
            raise ValueError(f"{text!r} is not an image reference: leave out {scheme[0]}")
        rest, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise ValueError(f"{text!r} is not an image reference: after the @, expected sha256: and 64 hexadecimal digits, got {digest!r}")
        registry, slash, path = rest.partition("/")
        if not slash or not (set(registry) & set(".:[") or registry == "localhost" or registry != registry.lower()):
            registry, path = DOCKER_HUB, rest
        path, colon, tag = path.partition(":")
        if colon and not _TAG.fullmatch(tag):
            raise ValueError(f"{text!r} is not an image reference: {tag!r} cannot be a tag (at most 128 letters, digits, _ . -)")
        if registry in ("index.docker.io", "registry-1.docker.io"):
            registry = DOCKER_HUB
        if registry == DOCKER_HUB and "/" not in path:
            path = f"library/{path}"
        if not _is_host(registry):
            raise ValueError(f"{text!r} is not an image reference: {registry!r} cannot be a registry, as 'ghcr.io' or '127.0.0.1:5000'")
        if not _REPOSITORY.fullmatch(path) or len(path) > 255:
            hint = ": repositories are in lower case" if _REPOSITORY.fullmatch(path.lower()) else ""
            raise ValueError(f"{text!r} is not an image reference: {path!r} cannot be a repository, as 'team/app'{hint}")
        return cls(registry, path, tag, digest)

    def __str__(self) -> str:
        return f"{self.name}{f':{self.tag}' if self.tag else ''}{f'@{self.digest}' if self.digest else ''}"

    @property
    def name(self) -> str:
        """``REGISTRY/REPOSITORY``."""
        return f"{self.registry}/{self.repository}"

    @property
    def selector(self) -> str:
        """What selects one manifest of the repository: the digest, or the tag, or ``latest``."""
        return self.digest or self.tag or "latest"

    def at(self, digest: str) -> Reference:
        """The same image, by digest, without a tag."""
        return replace(self, tag="", digest=digest)


def _is_host(text: str) -> bool:
    """Whether a text is a name or an address of a machine, with or without a port."""
    match = _HOST.fullmatch(text)
    if match is None or int(match[2] or 1) not in range(1, 1 << 16):
        return False
    try:
        return match[1] is None or bool(ipaddress.IPv6Address(match[1]))
    except ValueError:
        return False
