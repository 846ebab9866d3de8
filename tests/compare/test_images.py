"""Layers and images compared, entry by entry."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

from enginewright.compare.archives import compare_archives
from enginewright.compare.artifacts import Means, compare_outputs
from enginewright.compare.verdict import NONE, NUMERICAL, Finding
from enginewright.oci.layout import write_image

FILES = {"app/": b"", "app/a.txt": b"one", "app/b.txt": b"two"}


def short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def archive(path: Path, files: dict[str, bytes], **changes: object) -> Path:
    """A tar archive of files; of app/a.txt, attributes may be others."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            info.size, info.mode = len(content), 0o644
            if name.endswith("/"):
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            for attribute, value in changes.items() if name == "app/a.txt" else ():
                setattr(info, attribute, value)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_archives_by_entry(tmp_path: Path) -> None:
    first = archive(tmp_path / "a.tar", FILES)
    second = archive(tmp_path / "b.tar", {"app/": b"", "app/a.txt": b"ONE", "app/c.txt": b"two"}, mode=0o600, mtime=7, uid=3, uname="me")
    found = compare_archives(first, second)
    assert found.reproducible == NONE
    assert found.findings == (
        Finding(
            "entry app/a.txt",
            f"mode 0644 -> 0600, owner 0:0 -> 3:0 (me:), mtime 0 -> 7, content sha256:{short(b'one')}... -> sha256:{short(b'ONE')}...",
        ),
        Finding("entry app/b.txt", "is only in the first"),
        Finding("entry app/c.txt", "is only in the second"),
    )
    reversed_files = dict(reversed(FILES.items()))
    assert compare_archives(first, archive(tmp_path / "c.tar", reversed_files)).findings[0].where == "order"


def test_archives_that_are_compressed_otherwise(tmp_path: Path) -> None:
    first = archive(tmp_path / "a.tar", FILES)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(first.read_bytes(), mtime=0))
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(first.read_bytes(), mtime=9))
    found = compare_outputs({"layer": tmp_path / "a.tar.gz"}, {"layer": tmp_path / "b.tar.gz"}, Means())["layer"]
    assert found.reproducible == NUMERICAL
    assert found.basis == "the entries are the same; the archive is written or compressed otherwise"


def layout(folder: Path, files: dict[str, bytes], cmd: str = "serve", shallow: bool = False) -> Path:
    """An image of one layer."""
    folder.mkdir()
    blob = archive(folder / "layer.tar", files)
    digest = f"sha256:{hashlib.sha256(blob.read_bytes()).hexdigest()}"
    described = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": blob.stat().st_size}
    config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": [cmd]}, "rootfs": {"type": "layers", "diff_ids": [digest]}}
    write_image(folder / "image", config, [(described, None if shallow else blob)], {"note": cmd})
    return folder / "image"


def test_images_entry_by_entry(tmp_path: Path) -> None:
    first, second = layout(tmp_path / "a", FILES), layout(tmp_path / "b", {**FILES, "app/b.txt": b"three"}, "run")
    found = compare_outputs({"layout": first}, {"layout": second}, Means())["layout"]
    assert found.reproducible == NONE
    told = {each.where: each.what for each in found.findings}
    assert told["image: configuration: config.Cmd[0]"] == '"serve" -> "run"'
    assert told["image: manifest: annotations.note"] == '"serve" -> "run"'
    assert told["image: layer 0: entry app/b.txt"] == "size 3 -> 5"
    assert told["image"].startswith("sha256:")


def test_the_same_image_and_one_without_its_layers(tmp_path: Path) -> None:
    first = layout(tmp_path / "a", FILES)
    assert compare_outputs({"layout": first}, {"layout": layout(tmp_path / "b", FILES)}, Means()) == {}
    other = layout(tmp_path / "c", {"x": b""}, shallow=True)
    found = compare_outputs({"layout": first}, {"layout": other}, Means())["layout"]
    (absent,) = [each for each in found.findings if each.where == "image: layer 0"]
    assert absent.what.endswith(", which is not here")


def test_folders_file_by_file(tmp_path: Path) -> None:
    for name, files in (("a", {"x.json": {"v": 1.0}, "deep/y": 1, "gone": 1}), ("b", {"x.json": {"v": 1.0001}, "deep/y": 2})):
        for path, value in files.items():  # type: ignore[attr-defined]
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(json.dumps(value))
    found = compare_outputs({"tree": tmp_path / "a"}, {"tree": tmp_path / "b"}, Means())["tree"]
    assert found.reproducible == NONE
    assert found.findings == (
        Finding("gone", "is only in the first"),
        Finding("deep/y: byte 0", "differs"),
        Finding("x.json: v", "1.0 -> 1.0001"),
    )
