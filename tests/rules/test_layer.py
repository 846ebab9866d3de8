"""files_layer(): where files go, what is refused, and the layer that comes out."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from enginewright.errors import ActionError, DeclarationError
from enginewright.graph.action import Action, Artifact
from enginewright.graph.attributes import AttributeProblem
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Defaults, Loading, loading
from enginewright.rules.layer import files_layer, write_layer
from layers import layer_params

ENGINE = Label("models/minilm", "engine_sm_80")
OUTPUTS: Mapping[Label, Mapping[str, Artifact]] = {
    ENGINE: {
        "engine": Artifact("build/models/minilm/engine_sm_80.engine"),
        "sidecar": Artifact("build/models/minilm/engine_sm_80.json"),
    },
    Label("images/app", "site"): {"tree": Artifact("build/images/app/site", tree=True)},
    Label("images/app", "all"): {},
}


@pytest.fixture(autouse=True)
def build_file() -> Iterator[Loading]:
    into = Loading("images/app", "images/app/BUILD.py")
    token = loading.set(into)
    yield into
    loading.reset(token)


def action(files: Any) -> Action:
    into = loading.get()
    assert into is not None
    files_layer(name="app", files=files)
    made = into.declared[-1].rule.action(Context(Label("images/app", "app"), OUTPUTS.__getitem__))
    assert made is not None
    return made


def test_paths_in_the_image() -> None:
    made = action({"/app/main.py": "serve.py", "/models/minilm/": "models/minilm:engine_sm_80", "/app/site": ":site", "/": "motd"})
    assert made.params["files"] == {
        "/app/main.py": "images/app/serve.py",
        "/models/minilm/engine_sm_80.engine": "build/models/minilm/engine_sm_80.engine",
        "/models/minilm/engine_sm_80.json": "build/models/minilm/engine_sm_80.json",
        "/app/site": "build/images/app/site",
        "/motd": "images/app/motd",
    }
    assert made.inputs["build/images/app/site"] == Artifact("build/images/app/site", tree=True)
    assert made.outputs == {"layer": Artifact("build/images/app/app.tar"), "descriptor": Artifact("build/images/app/app.json")}
    assert made.packages == ()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "files: is empty"),
        ({"app/main.py": "serve.py"}, "'app/main.py' is not a path in the image"),
        ({"/app/../main.py": "serve.py"}, "is not a path in the image"),
        ({"//app": "serve.py"}, "is not a path in the image"),
        ({"/app//": "serve.py"}, "is not a path in the image"),
        ({"/./": "serve.py"}, "is not a path in the image"),
        ({"": "serve.py"}, "is not a path in the image"),
        ({"/app/.wh.x": "serve.py"}, "files: '/app/.wh.x': a name that starts with .wh. would delete a file below the layer"),
        ({"/.wh.app/x": "serve.py"}, "files: '/.wh.app/x': a name that starts with .wh. would delete"),
        ({"/app": "serve.py", "/app/main.py": "serve.py"}, "'/app' cannot be placed whole and also be the folder of '/app/main.py'"),
        ({"/app": "serve.py", "/app/": "serve.py"}, "'/app' cannot be placed whole"),
        ({"/app/main.py": 3}, r"files\['/app/main.py'\]: expected a label"),
    ],
)
def test_refused_when_declared(files: Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=rf"^images/app/BUILD.py:\d+: files_layer\(name='app'\): .*{message}"):
        files_layer(name="app", files=files)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"/engine": str(ENGINE)}, r"several outputs \(engine_sm_80.engine, engine_sm_80.json\): write '/engine/'"),
        ({"/all/": ":all"}, "images/app:all has no outputs"),
        ({"/m/": str(ENGINE), "/m/engine_sm_80.json": "x.json"}, "/m/engine_sm_80.json is already build/models/minilm/engine_sm_80.json"),
        ({"/m/": str(ENGINE), "/m/engine_sm_80.json/x": "x.json"}, "'/m/engine_sm_80.json' cannot be placed whole"),
    ],
)
def test_refused_when_outputs_are_known(files: dict[str, str], message: str) -> None:
    with pytest.raises(AttributeProblem, match=message):
        action(files)


def test_the_layer_and_its_descriptor(tmp_path: Path) -> None:
    (tmp_path / "engine").write_bytes(b"engine")
    (tmp_path / "site" / "css").mkdir(parents=True)
    (tmp_path / "site" / "css" / "a.css").write_bytes(b"a")
    outputs = {"layer": tmp_path / "app.tar", "descriptor": tmp_path / "app.json"}
    params = layer_params({"/models/minilm.engine": "e", "/app/site": "s", "/twice": "e"})
    write_layer({"e": tmp_path / "engine", "s": tmp_path / "site"}, outputs, params)
    with tarfile.open(outputs["layer"]) as tar:
        assert [member.name for member in tar if member.isreg()] == ["app/site/css/a.css", "models/minilm.engine", "twice"]
        assert {member.mtime for member in tar} == {0}
    data = outputs["layer"].read_bytes()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    assert json.loads(outputs["descriptor"].read_bytes()) == {
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "digest": digest,
        "size": len(data),
        "diff_id": digest,
    }


def test_a_folder_with_a_name_that_no_layer_can_have(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / ".wh.file").touch()
    outputs = {"layer": tmp_path / "app.tar", "descriptor": tmp_path / "app.json"}
    with pytest.raises(ActionError, match=r"/app/\.wh\.file"):
        write_layer({"one": tmp_path / "one"}, outputs, layer_params({"/app": "one"}))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "files: is empty: a layer needs at least one file"),
        ({"links": {"/a": ""}}, r"links\['/a'\]: '' leads nowhere"),
        ({"links": {"/a/b": "../../c"}}, r"links\['/a/b'\]: '../../c' leads out of the image"),
        ({"links": {"/a": "../c"}}, "leads out of the image"),
        ({"links": {"/a/b": "/../c"}}, "leads out of the image"),
        ({"links": {"/a/": "b"}}, "links: '/a/' is a folder: write it without '/' at its end"),
        ({"links": {"a": "b"}}, "links: 'a' is not a path in the image"),
        ({"links": {"/a": "b"}, "files": {"/a": "x"}}, "links: '/a' is also placed"),
        ({"links": {"/a": "b"}, "files": {"/a/c": "x"}}, "files: '/a' cannot be placed whole and also be the folder of '/a/c'"),
        ({"links": {"/a": "b"}, "folders": ["/a/c"]}, "files: '/a' cannot be placed whole and also be the folder of '/a/c'"),
        ({"deletes": ["/a"], "files": {"/a": "x"}}, "deletes: '/a' is also placed"),
        ({"deletes": ["/../a"]}, "deletes: '/../a' is not a path in the image"),
        ({"deletes": ["/a/.wh.b"]}, "deletes: '/a/.wh.b': a name that starts with .wh. would delete .*: leave it out here"),
        ({"links": {"/.wh.a": "b"}}, "links: '/.wh.a': a name that starts with .wh. would delete"),
        ({"folders": ["/"]}, "folders: '/' is in every image"),
        ({"deletes": ["/" + "x" * 252]}, "is too long a name: there is room for 251 bytes"),
        ({"files": {"/" + "é" * 128: "x"}}, "is too long a name: there is room for 255 bytes"),
        ({"files": {"/a": "x"}, "owners": {"/a": "root"}}, r"owners\['/a'\]: 'root' is no owner: write numbers"),
        ({"files": {"/a": "x"}, "owners": {"/a": "1:2:3"}}, "is no owner"),
        ({"files": {"/a": "x"}, "owners": {"/a": "4294967295"}}, "is no owner"),
        ({"files": {"/a": "x"}, "owners": {"a": "1"}}, "owners: 'a' is not a path in the image"),
        ({"files": {"/a": "x"}, "modes": {"/a": "rwx"}}, r"modes\['/a'\]: 'rwx' is no mode: write it in octal"),
        ({"files": {"/a": "x"}, "modes": {"/a": "888"}}, "is no mode"),
        ({"files": {"/a": "x"}, "modes": {"/a": 0o755}}, r"modes\['/a'\]: expected a string, got 493"),
        ({"files": {"/a": "x"}, "compression": "lz4"}, "compression: 'lz4' is no compression of layers: there are none, gzip"),
        ({"files": {"/a": "x"}, "mtime": -1}, "mtime: -1 is no time that an archive has room for"),
        ({"files": {"/a": "x"}, "mtime": "today"}, "mtime: expected an integer or 'SOURCE_DATE_EPOCH', got 'today'"),
    ],
)
def test_attributes_that_are_refused(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=rf"^images/app/BUILD.py:\d+: files_layer\(name='app'\): .*{message}"):
        files_layer(name="app", **attributes)


@pytest.mark.parametrize("target", ["b", "../b", "/b", "../../b", "x/../../../b", "./."])
def test_links_that_stay_in_the_image(target: str) -> None:
    files_layer(name="app", links={"/a/c/link": target})


def test_all_that_can_be_said_of_paths(build_file: Loading) -> None:
    files_layer(
        name="app",
        files={"/app/": "serve.py"},
        links={"/serve": "app/serve.py"},
        folders=["/data/", "/cache"],
        deletes=["/etc/motd", "/a"],
        owners={"/app/": "1000", "/data": "1:2"},
        modes={"/app/": "640", "/app/serve.py": "4755", "/data": "01777"},
        compression="zstd:9",
        mtime="SOURCE_DATE_EPOCH",
    )
    made = build_file.declared[-1].rule.action(Context(Label("images/app", "app"), OUTPUTS.__getitem__, Defaults("gzip", 17)))
    assert made is not None
    assert made.params == {
        "files": {"/app/serve.py": "images/app/serve.py"},
        "links": {"/serve": "app/serve.py"},
        "folders": ("/cache", "/data/"),
        "deletes": ("/a", "/etc/motd"),
        "owners": {"/app/": (1000, 1000), "/data": (1, 2)},
        "modes": {"/app/": 0o640, "/app/serve.py": 0o4755, "/data": 0o1777},
        "compression": "zstd:9",
        "mtime": 17,
    }
    assert made.outputs["layer"] == Artifact("build/images/app/app.tar.zst") and made.packages == ("zstandard",)


@pytest.mark.parametrize(
    ("chosen", "suffix", "packages"), [("none", "", ()), ("gzip:1", ".gz", ("isal",)), ("zstd:1", ".zst", ("zstandard",))]
)
def test_what_the_declaration_leaves_out_is_the_builds_choice(
    build_file: Loading, chosen: str, suffix: str, packages: tuple[str, ...]
) -> None:
    files_layer(name="app", files={"/a": "x"})
    made = build_file.declared[-1].rule.action(Context(Label("images/app", "app"), OUTPUTS.__getitem__, Defaults(chosen, 17)))
    assert made is not None and made.packages == packages
    assert (made.params["compression"], made.params["mtime"]) == (chosen, 0)
    assert made.outputs["layer"] == Artifact(f"build/images/app/app.tar{suffix}")
