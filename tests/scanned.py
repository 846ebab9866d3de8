"""A workspace with an image of a small Debian: two packages of the system, one of Python, and a model."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np

from bolt import write_bolt
from converted import model
from throwaway import Workspace

BUILD = """
from enginewright import files_layer, image, onnx_file, sbom, scan

onnx_file(name="onnx", src="net.onnx", dims={"batch": (1, 3, 8)})
files_layer(name="system", files={"/etc/os-release": "os-release", "/etc/debian_version": "version", "/var/lib/dpkg/status": "status"})
files_layer(name="python", files={"/usr/lib/python3/dist-packages/idna-3.20.dist-info/METADATA": "METADATA"})
files_layer(name="model", files={"/models/": ":onnx"})
image(name="image", layers=[":system", ":python", ":model"])
"""

FILES = {
    "os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n',
    "version": "12.4\n",
    "status": "".join(
        f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nMaintainer: A <a@example.org>\nVersion: {version}\n"
        f"Installed-Size: 100\nDescription: a package\n\n"
        for name, version in {"openssl": "3.0.9-1", "zlib1g": "1:1.2.13.dfsg-1"}.items()
    ),
    "METADATA": "Metadata-Version: 2.4\nName: idna\nVersion: 3.20\nLicense-Expression: BSD-3-Clause\n",
}
W = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)


def declare(workspace: Workspace, more: str) -> None:
    """Write the workspace, with more declarations after the image."""
    workspace.write({"models/x/BUILD.py": BUILD + more, **{f"models/x/{name}": text for name, text in FILES.items()}})
    # As they are: what ends a file of dpkg is an empty line.
    (workspace.root / "models/x/status").write_text(FILES["status"])
    (workspace.root / "models/x/net.onnx").write_bytes(model("y = MatMul(x, w)", w=W).SerializeToString())


def write_database(folder: Path, age_days: int = 0, version: int = 2, system: str = "debian 12", **advisories: str) -> None:
    """Trivy's database with an advisory for each package, ``openssl="CVE-... HIGH 3.0.9-2"``, that is so many days old."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {package: text.split() for package, text in advisories.items()}
    write_bolt(
        folder / "trivy.db",
        {
            "data-source": {system: encoded({"ID": "debian", "Name": "Debian", "URL": "https://debian.example"})},
            system: {package: {name: encoded({"FixedVersion": fixed})} for package, (name, _, fixed) in given.items()},
            "vulnerability": {name: encoded({"Title": f"about {package}", "Severity": rank}) for package, (name, rank, _) in given.items()},
        },
    )
    made = datetime.now(timezone.utc) - timedelta(days=age_days)
    told = {"Version": version, "UpdatedAt": made.isoformat(), "NextUpdate": (made + timedelta(days=1)).isoformat()}
    (folder / "metadata.json").write_text(json.dumps({**told, "DownloadedAt": made.isoformat()}))


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()
