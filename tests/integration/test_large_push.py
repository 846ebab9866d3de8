"""Memory stays flat, however large a layer is: pushed, pulled, and passed on from registry to registry."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from enginewright.oci.layout import Descriptor, blob_path, canonical_json, write_image
from enginewright.oci.media import LAYER, REF_NAME
from registries import running

MIB = 1 << 20

SCRIPT = """
import json, re, sys
from pathlib import Path
from enginewright.oci.pull import pull
from enginewright.oci.push import push
from enginewright.oci.registry.client import Client
from enginewright.oci.registry.reference import Reference

what, folder, reference = sys.argv[1:]
if what == "push":
    done = push(Client(), Path(folder), Reference.parse(reference))
    amount = done.sent
else:
    amount = pull(Client(), Reference.parse(reference), Path(folder)).received
# Not ru_maxrss, which counts what the process that started this one had.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(json.dumps([amount, int(peak[1])]))
"""


def run(*arguments: str | Path) -> tuple[int, int]:
    """Bytes that were transferred, and the most memory the process had, in KiB."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, *map(str, arguments)], check=True, capture_output=True, text=True)
    amount, memory = json.loads(done.stdout)
    return amount, memory


@pytest.mark.parametrize("size", [200 * MIB, pytest.param(5000 * MIB, marks=pytest.mark.slow)])
def test_memory(tmp_path: Path, size: int) -> None:
    zeros = tmp_path / "zeros"
    with zeros.open("wb") as file:
        file.truncate(size)
    with zeros.open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    layer = Descriptor(LAYER, digest, size)
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest]}}
    made = write_image(tmp_path / "layout", config, [(layer.to_json(), zeros)], {})
    with running(tmp_path / "registry") as registry, running(tmp_path / "other") as other:
        amount, pushing = run("push", tmp_path / "layout", f"{registry.host}/large:1")
        assert amount > size
        blob_path(tmp_path / "layout", digest).unlink()
        index = {"schemaVersion": 2, "manifests": [{**made.to_json(), "annotations": {REF_NAME: f"{registry.host}/large@{made.digest}"}}]}
        (tmp_path / "layout/index.json").write_bytes(canonical_json(index))
        amount, passing_on = run("push", tmp_path / "layout", f"{other.host}/large:1")
        assert amount > size
        registry.stop()
        registry.blob(digest).unlink()
        amount, pulling = run("pull", tmp_path / "pulled", f"{other.host}/large:1")
        assert amount > size and blob_path(tmp_path / "pulled", digest).stat().st_size == size
    assert max(pushing, passing_on, pulling) < 100_000
