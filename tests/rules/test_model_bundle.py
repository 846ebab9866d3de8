"""model_bundle(): what it accepts, and the folder it makes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from enginewright.bundle.sums import SUMS, decode, unsealed
from enginewright.errors import DeclarationError
from enginewright.graph.dag import Graph, analyse
from enginewright.rules.model_bundle import model_bundle
from stand_ins import build, build_file, engines


def declared(**attributes: Any) -> Graph:
    with build_file("models/minilm") as there:
        engines(name="engine", archs=("sm_120", "sm_80"))
        model_bundle(name="bundle", **({"engines": ":engine"} | attributes))
    return analyse({"models/minilm": there})


def made(folder: Path, **attributes: Any) -> dict[str, bytes]:
    (folder / "models/minilm").mkdir(parents=True)
    (folder / "models/minilm/tokenizer.json").write_text("{}")
    build(declared(**attributes), folder)
    bundle = folder / "build/models/minilm/bundle"
    sums = decode((bundle / SUMS).read_bytes(), "")
    assert unsealed(bundle, sums) == ""
    found = {path.relative_to(bundle).as_posix(): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    assert found.keys() == {*sums.files, SUMS}
    return found


def test_engines_with_their_sidecars_and_a_manifest(tmp_path: Path) -> None:
    found = made(tmp_path)
    assert found.keys() == {
        SUMS,
        "manifest.json",
        *(f"engine_{arch}.{kind}" for arch in ("sm_80", "sm_120") for kind in ("engine", "json")),
    }
    assert json.loads(found["manifest.json"])["engines"]["sm_120"]["engine"] == "engine_sm_120.engine"


def test_files_beside_them(tmp_path: Path) -> None:
    found = made(tmp_path, files={"text/": "tokenizer.json", "vocabulary.json": "tokenizer.json", "raw/": ":engine_sm_80"})
    assert found["text/tokenizer.json"] == found["vocabulary.json"] == b"{}"
    assert found["raw/engine_sm_80.engine"] == b"engine for sm_80"


def test_one_engine_or_none(tmp_path: Path) -> None:
    assert made(tmp_path / "none", engines=None, files={"a/b.json": "tokenizer.json"}).keys() == {SUMS, "a/b.json"}
    with build_file("models/minilm") as there:
        engines(name="engine", archs=("sm_80",))
        model_bundle(name="bundle", engines=":engine")
    build(analyse({"models/minilm": there}), tmp_path)


def test_the_same_twice(tmp_path: Path) -> None:
    assert made(tmp_path / "a") == made(tmp_path / "b")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"engines": None}, "files: is empty: a bundle needs engines or files"),
        ({"files": {"/a": "tokenizer.json"}}, "files: '/a' is not a path in the bundle"),
        ({"files": {"a/../b": "tokenizer.json"}}, "files: 'a/../b' is not a path in the bundle"),
        ({"files": {"manifest.json": "tokenizer.json"}}, "files: 'manifest.json' is what lists the engines"),
        ({"files": {"engine_sm_80.json": "tokenizer.json"}}, "files: 'engine_sm_80.json' would come from build/models/minilm/"),
        ({"files": {"a": "tokenizer.json", "a/b": "tokenizer.json"}}, "files: 'a' cannot be a file and also be the folder of 'a/b'"),
        ({"files": {"a": ":engine_sm_80"}}, "files['a']: models/minilm:engine_sm_80 has several outputs: write 'a/'"),
        ({"files": {"a/": ":engine"}}, "files['a/']: models/minilm:engine makes no files"),
        ({"engines": ":bundle"}, "engines: models/minilm:bundle is a model_bundle, which makes no engines: name a tensorrt_engine"),
    ],
)  # fmt: skip
def test_what_is_refused(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=rf"^models/minilm/BUILD.py:\d+: model_bundle\(name='bundle'\): {re.escape(message)}"):
        declared(**attributes)
