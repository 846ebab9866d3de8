"""Certificates for servers and clients of tests, by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificates(NamedTuple):
    """Files in PEM format: a certificate for localhost, its key, and the authority that signed it."""

    ca: Path
    certificate: Path
    key: Path


def make(folder: Path) -> Certificates:
    """A new authority, and a certificate for localhost and 127.0.0.1 that serves servers and clients."""
    ca, certificate, key = folder / "ca.pem", folder / "certificate.pem", folder / "key.pem"
    new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-batch"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    own = ["-x509", "-subj", "/CN=tests", "-keyout", str(folder / "ca.key"), "-out", str(ca)]
    signed = [
        "-x509",
        "-CA",
        str(ca),
        "-CAkey",
        str(folder / "ca.key"),
        "-subj",
        "/CN=localhost",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    for command in ([*new, *own], [*new, *signed, *names]):
        subprocess.run(command, check=True, capture_output=True)
    return Certificates(ca, certificate, key)
