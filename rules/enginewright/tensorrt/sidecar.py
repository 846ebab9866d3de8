"""The sidecar of an engine: a JSON file beside it with what its bytes do not tell, and checks of the two that need no GPU."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from enginewright.errors import ActionError
from enginewright.model.checksum import sha256_of
from enginewright.tensorrt import header
from enginewright.tensorrt.backend import RTX, Backend

FORMAT = 1

_PARTS = {"arch": str, "backend": dict, "engine": dict, "io": list, "precision": str, "profiles": list, "settings": dict, "sources": dict}


def describe_engine(engine: Any, arch: str, backend: Backend) -> dict[str, Any]:
    """What a sidecar says of an engine's bytes, a buffer: its digest, its size and, where they can be told, the bytes of weights.

    Raises ActionError for one of TensorRT-RTX whose header is not that of an engine for ``arch``.
    """
    facts: dict[str, Any] = {"sha256": hashlib.sha256(engine).hexdigest(), "size": len(engine), "weight_bytes": None}
    if backend.name == RTX:
        start = bytes(engine[: header.SIZE])
        found = header.parse(start)
        if found is None or found.length != len(engine) or found.archs != (arch,):
            raise ActionError(
                f"the engine that {backend} wrote for {arch}, of {len(engine)} bytes, is not what was asked for: its header is"
                f" {found or start!r}. This TensorRT-RTX may write another format"
            )
        facts["weight_bytes"] = found.weight_bytes
    return facts


def write(path: Path, facts: Mapping[str, Any]) -> None:
    """Write a sidecar, the same bytes for the same facts."""
    path.write_text(json.dumps({"format": FORMAT, **facts}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """The facts in a sidecar. Raises ActionError for a file that is none, and OSError."""
    try:
        facts = json.loads(path.read_bytes())
    except ValueError:
        facts = None
    known = facts.get("format") if isinstance(facts, dict) else None
    if isinstance(known, int) and known != FORMAT:
        raise ActionError(f"{path.name} is a sidecar of format {known}, and this version reads format {FORMAT}: build the engine again")
    if known is None or not all(isinstance(facts.get(name), kind) for name, kind in _PARTS.items()):
        raise ActionError(f"{path.name} is not the sidecar of an engine: build the engine again")
    return dict(facts)


def damage(engine: Path, facts: Mapping[str, Any]) -> str:
    """Why an engine file cannot be the one that a sidecar describes; empty when it is. Raises OSError."""
    expected, size = facts["engine"], engine.stat().st_size
    found = header.read(engine)
    rtx = facts["backend"]["name"] == RTX
    if rtx and found is None:
        return f"{engine.name} is no engine of TensorRT-RTX{': it is cut off' if size < header.SIZE else ''}"
    if not rtx and found is not None:
        return f"{engine.name} is an engine of TensorRT-RTX, and its sidecar describes one of TensorRT"
    if (found is not None and found.length > size) or (not found and size < expected["size"]):
        return f"{engine.name} is cut off: it has {size} of {found.length if found else expected['size']} bytes"
    if found is not None and found.archs != (facts["arch"],):
        archs = ", ".join(found.archs) or "no known architecture"
        return f"{engine.name} is an engine for {archs}, and its sidecar describes one for {facts['arch']}"
    # The header has the parts of the version as bytes, without leading zeros.
    version = facts["backend"]["version"]
    if found is not None and found.version.split(".")[:3] != version.split(".")[:3]:
        return f"{engine.name} was built by TensorRT-RTX {found.version}, and its sidecar describes one of {version}"
    if size != expected["size"]:
        return f"{engine.name} has {size} bytes, and its sidecar describes one of {expected['size']}"
    if sha256_of(engine) != expected["sha256"]:
        return f"{engine.name} is not the engine that its sidecar describes: its bytes are others, damaged or of another build"
    return ""


def unfit(facts: Mapping[str, Any], gpus: Collection[str], versions: Mapping[str, str]) -> str:
    """Why a machine cannot run an engine; empty when it can.

    ``gpus`` are the architectures it has, ``versions`` what is installed of the backends, by the names of their modules.
    """
    backend, arch, settings = facts["backend"], facts["arch"], facts["settings"]
    if not gpus:
        return f"it needs a GPU of architecture {arch}, and there is none on this machine"
    if not any(runs_on(facts, gpu) for gpu in gpus):
        return f"it was built for {arch}, and this machine has {', '.join(gpus)}"
    product = "TensorRT-RTX" if backend["name"] == RTX else "TensorRT"
    installed = versions.get(backend["name"])
    if installed is None:
        return f"it needs {product} {backend['version']}, which is not installed here"
    if installed != backend["version"] and not (settings.get("version_compatible") and _at_least(installed, backend["version"])):
        return (
            f"it was built by {product} {backend['version']}, and {installed} is installed here: it loads engines of its own version only"
        )
    return ""


def runs_on(facts: Mapping[str, Any], gpu: str) -> bool:
    """Whether an engine runs on GPUs of an architecture: its own, or others, as NVIDIA documents of engines built to be portable.

    One that is for GPUs of the same compute capability runs on those only: what it gains is other GPUs of that capability.
    """
    return bool(gpu == facts["arch"] or (facts["settings"].get("hardware_compatibility") == "ampere_plus" and _number(gpu) >= 80))


def _number(arch: str) -> int:
    return int(arch.removeprefix("sm_"))


def _at_least(version: str, other: str) -> bool:
    first, second = ([int(part) for part in each.split(".") if part.isdigit()] for each in (version, other))
    return first >= second
