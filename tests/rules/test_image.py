"""image(): the configuration it declares and the layout it writes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from enginewright.errors import DeclarationError
from enginewright.graph.action import Action, Artifact
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Loading, loading
from enginewright.rules.image import assemble, image
from enginewright.rules.layer import write_layer


@pytest.fixture(autouse=True)
def build_file() -> Iterator[Loading]:
    into = Loading("images/app", "images/app/BUILD.py")
    token = loading.set(into)
    yield into
    loading.reset(token)


def outputs(label: Label) -> Mapping[str, Artifact]:
    return {
        "layer": Artifact(f"build/{label.package}/{label.name}.tar"),
        "descriptor": Artifact(f"build/{label.package}/{label.name}.json"),
    }


def action(**attributes: Any) -> Action:
    into = loading.get()
    assert into is not None
    image(name="app", **attributes)
    made = into.declared[-1].rule.action(Context(Label("images/app", "app"), outputs))
    assert made is not None
    return made


def build(folder: Path, made: Action, contents: list[bytes]) -> tuple[Any, Any, Any]:
    """Run the action over one layer per content; returns index, manifest and configuration."""
    inputs: dict[str, Path] = {}
    for number, data in enumerate(contents):
        (folder / f"{number}.txt").write_bytes(data)
        written = {"layer": folder / f"{number}.tar", "descriptor": folder / f"{number}.json"}
        write_layer({"f": folder / f"{number}.txt"}, written, {"files": {f"/{number}.txt": "f"}, "mtime": 0})
        inputs |= {f"{output}_{number}": path for output, path in written.items()}
    assert inputs.keys() == made.inputs.keys()
    assemble(inputs, {"layout": folder / "layout"}, json.loads(json.dumps(made.params)))
    index = json.loads((folder / "layout" / "index.json").read_bytes())
    blobs = folder / "layout" / "blobs" / "sha256"
    manifest = json.loads((blobs / index["manifests"][0]["digest"].removeprefix("sha256:")).read_bytes())
    return index, manifest, json.loads((blobs / manifest["config"]["digest"].removeprefix("sha256:")).read_bytes())


def test_inputs_and_output() -> None:
    made = action(layers=[":low", "models/minilm:image.layer_sm_80"])
    assert made.inputs == {
        "layer_0": Artifact("build/images/app/low.tar"),
        "descriptor_0": Artifact("build/images/app/low.json"),
        "layer_1": Artifact("build/models/minilm/image.layer_sm_80.tar"),
        "descriptor_1": Artifact("build/models/minilm/image.layer_sm_80.json"),
    }
    assert made.outputs == {"layout": Artifact("build/images/app/app", tree=True)}


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    made = action(
        layers=[":low", ":high"],
        entrypoint=["python3", "-m", "serve"],
        cmd=["--port", "8000"],
        env={"PORT": "8000", "LANG": "C.UTF-8"},
        user="65534:65534",
        workdir="/app",
        labels={"team": "search"},
        exposed_ports=["8000", "53/udp"],
        stop_signal="SIGRTMIN+3",
        annotations={"org.opencontainers.image.title": "app"},
        architecture="arm64",
    )
    index, manifest, config = build(tmp_path, made, [b"low", b"high"])
    assert config["config"] == {
        "Entrypoint": ["python3", "-m", "serve"],
        "Cmd": ["--port", "8000"],
        "Env": ["LANG=C.UTF-8", "PORT=8000"],
        "User": "65534:65534",
        "WorkingDir": "/app",
        "Labels": {"team": "search"},
        "ExposedPorts": {"8000": {}, "53/udp": {}},
        "StopSignal": "SIGRTMIN+3",
    }
    assert (config["architecture"], config["os"], config["created"]) == ("arm64", "linux", "1970-01-01T00:00:00Z")
    assert [entry["created_by"] for entry in config["history"]] == ["images/app:low", "images/app:high"]
    layers = [json.loads((tmp_path / f"{number}.json").read_bytes()) for number in range(2)]
    assert config["rootfs"] == {"type": "layers", "diff_ids": [layer["diff_id"] for layer in layers]}
    assert [layer["digest"] for layer in manifest["layers"]] == [layer["digest"] for layer in layers]
    assert all(set(layer) == {"mediaType", "digest", "size"} for layer in manifest["layers"])
    assert manifest["annotations"] == {"org.opencontainers.image.title": "app"}
    assert index["manifests"][0]["platform"] == {"architecture": "arm64", "os": "linux"}


def test_what_is_not_said_is_left_out(tmp_path: Path) -> None:
    _, manifest, config = build(tmp_path, action(layers=[":low"]), [b"low"])
    assert config["config"] == {}
    assert "annotations" not in manifest


def test_created_is_a_parameter(tmp_path: Path) -> None:
    made = action(layers=[":low"])
    made.params["created"] = 1_700_000_000  # type: ignore[index]
    _, _, config = build(tmp_path, made, [b"low"])
    assert config["created"] == config["history"][0]["created"] == "2023-11-14T22:13:20Z"


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "missing attribute 'layers'"),
        ({"layers": []}, "layers: is empty"),
        ({"layers": [":low", "images/app:low"]}, "layers: images/app:low is listed twice"),
        ({"layers": [":low"], "env": {"A=B": "c"}}, "env: 'A=B' cannot name a variable"),
        ({"layers": [":low"], "env": {"": "c"}}, "env: '' cannot name a variable"),
        ({"layers": [":low"], "env": {"PORT": 8000}}, r"env\['PORT'\]: expected a string, got 8000"),
        ({"layers": [":low"], "workdir": "app"}, "workdir: expected an absolute path"),
        ({"layers": [":low"], "exposed_ports": ["http"]}, "exposed_ports: 'http' is not a port"),
        ({"layers": [":low"], "exposed_ports": ["65536"]}, "exposed_ports: '65536' is not a port"),
        ({"layers": [":low"], "stop_signal": "TERM"}, "stop_signal: 'TERM' is not a signal"),
        ({"layers": [":low"], "architecture": "x86_64"}, "architecture: expected 'amd64' or 'arm64'"),
        ({"layers": [":low"], "base": "debian"}, "unknown attribute 'base'"),
    ],
)
def test_refused(attributes: Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=rf"^images/app/BUILD.py:\d+: image\(name='app'\): {message}"):
        image(name="app", **attributes)
