"""Engine files against their sidecars, with no GPU: what is damaged, and what cannot run where."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from enginewright.errors import ActionError
from enginewright.tensorrt import header, sidecar

VERSION = "1.7.1.116"


def rtx_engine(mask: int = 2, version: tuple[int, ...] = (1, 7, 1, 116), length: int = 1000, weights: int = 640) -> bytes:
    """Bytes with the header of an engine of TensorRT-RTX, as the real ones in tests/rules have it."""
    start = struct.pack("<4s12xQ4B4sQ16xQ", b"vtrt", length, *version, b"vtrt", mask, weights)
    return start.ljust(1000, b"x")


def described(
    tmp_path: Path, content: bytes, backend: str = "tensorrt_rtx", arch: str = "sm_80", **settings: Any
) -> tuple[Path, dict[str, Any]]:
    """An engine file, and the facts of a sidecar that describes it."""
    engine = tmp_path / "net.engine"
    engine.write_bytes(content)
    digest = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "weight_bytes": None}
    version = VERSION if backend == "tensorrt_rtx" else "10.8.0.43"
    facts = {
        "arch": arch, "backend": {"name": backend, "version": version}, "engine": digest, "io": [], "precision": "float16", "profiles": [],
        "settings": settings, "sources": {},
    }  # fmt: skip
    return engine, facts


def test_a_header_says_what_tensorrt_rtx_does_not_document() -> None:
    assert header.parse(rtx_engine()) == header.Header(1000, VERSION, ("sm_80",), 640)
    assert header.parse(rtx_engine(mask=0x0F)) == header.Header(1000, VERSION, ("sm_75", "sm_80", "sm_86", "sm_89"), 640)
    assert header.parse(rtx_engine()[:63]) is None
    assert header.parse(b"ptrt" + bytes(100)) is None


def test_an_engine_that_fits(tmp_path: Path) -> None:
    assert sidecar.damage(*described(tmp_path, rtx_engine())) == ""
    assert sidecar.damage(*described(tmp_path, b"a plan" * 50, "tensorrt", "sm_90")) == ""


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (rtx_engine()[:900], "net.engine is cut off: it has 900 of 1000 bytes"),
        (rtx_engine()[:10], "net.engine is no engine of TensorRT-RTX: it is cut off"),
        (b"", "net.engine is no engine of TensorRT-RTX: it is cut off"),
        (b"#" * 1000, "net.engine is no engine of TensorRT-RTX"),
        (rtx_engine(mask=8), "net.engine is an engine for sm_89, and its sidecar describes one for sm_80"),
        (rtx_engine(version=(1, 6, 0, 9)), f"net.engine was built by TensorRT-RTX 1.6.0.9, and its sidecar describes one of {VERSION}"),
        (
            rtx_engine()[:-1] + b"y",
            "net.engine is not the engine that its sidecar describes: its bytes are others, damaged or of another build",
        ),
        (rtx_engine() + b"y", "net.engine has 1001 bytes, and its sidecar describes one of 1000"),
    ],
)
def test_an_engine_that_is_another_or_damaged(tmp_path: Path, content: bytes, problem: str) -> None:
    engine, facts = described(tmp_path, rtx_engine())
    engine.write_bytes(content)
    assert sidecar.damage(engine, facts) == problem


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a pla", "net.engine is cut off: it has 5 of 6 bytes"),
        (b"a plum", "net.engine is not the engine that its sidecar describes: its bytes are others, damaged or of another build"),
        (rtx_engine(), "net.engine is an engine of TensorRT-RTX, and its sidecar describes one of TensorRT"),
    ],
)
def test_an_engine_of_tensorrt_is_known_by_its_bytes(tmp_path: Path, content: bytes, problem: str) -> None:
    engine, facts = described(tmp_path, b"a plan", "tensorrt", "sm_90")
    engine.write_bytes(content)
    assert sidecar.damage(engine, facts) == problem


@pytest.mark.parametrize(
    ("gpus", "versions", "problem"),
    [
        (["sm_80"], {"tensorrt_rtx": VERSION}, ""),
        (["sm_90", "sm_80"], {"tensorrt_rtx": VERSION}, ""),
        ([], {"tensorrt_rtx": VERSION}, "it needs a GPU of architecture sm_80, and there is none on this machine"),
        (["sm_90"], {"tensorrt_rtx": VERSION}, "it was built for sm_80, and this machine has sm_90"),
        (["sm_80"], {"tensorrt": "10.8.0.43"}, f"it needs TensorRT-RTX {VERSION}, which is not installed here"),
        (
            ["sm_80"],
            {"tensorrt_rtx": "1.8.0.1"},
            f"it was built by TensorRT-RTX {VERSION}, and 1.8.0.1 is installed here: it loads engines of its own version only",
        ),
    ],
)
def test_where_an_engine_runs(tmp_path: Path, gpus: list[str], versions: dict[str, str], problem: str) -> None:
    _, facts = described(tmp_path, rtx_engine())
    assert sidecar.unfit(facts, gpus, versions) == problem


def test_engines_that_were_built_to_be_portable(tmp_path: Path) -> None:
    _, facts = described(tmp_path, b"a plan", "tensorrt", "sm_80", version_compatible=True, hardware_compatibility="ampere_plus")
    assert sidecar.unfit(facts, ["sm_90"], {"tensorrt": "10.9.0.1"}) == ""
    assert sidecar.unfit(facts, ["sm_75"], {"tensorrt": "10.9.0.1"}) == "it was built for sm_80, and this machine has sm_75"
    assert "10.7.0.23 is installed here" in sidecar.unfit(facts, ["sm_80"], {"tensorrt": "10.7.0.23"})


def test_a_sidecar_is_read_as_it_was_written(tmp_path: Path) -> None:
    _, facts = described(tmp_path, rtx_engine())
    sidecar.write(tmp_path / "net.json", facts)
    assert sidecar.read(tmp_path / "net.json") == {"format": 1, **facts}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "arch": 5}', "\x00"])
def test_what_is_no_sidecar(tmp_path: Path, text: str) -> None:
    (tmp_path / "net.json").write_text(text)
    with pytest.raises(ActionError, match=r"net\.json is not the sidecar of an engine"):
        sidecar.read(tmp_path / "net.json")


def test_a_sidecar_of_a_later_format(tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text(json.dumps({"format": 9}))
    with pytest.raises(ActionError, match="a sidecar of format 9, and this version reads format 1"):
        sidecar.read(tmp_path / "net.json")
