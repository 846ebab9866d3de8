"""image(): the configuration it declares and the layout it writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from enginewright.errors import ActionError, DeclarationError
from enginewright.graph.action import Action, Artifact
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Loading, loading
from enginewright.oci.layout import Image, blob_path, read_image
from enginewright.rules.image import assemble, image
from enginewright.rules.layer import write_layer
from layers import layer_params


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
        **({"base": Artifact("build/images/app/base", tree=True)} if label.name == "base" else {}),
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
        write_layer({"f": folder / f"{number}.txt"}, written, layer_params({f"/{number}.txt": "f"}))
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
        ({"layers": []}, "layers: is empty"),
        ({"layers": [":low", "images/app:low"]}, "layers: images/app:low is listed twice"),
        ({"layers": [":low"], "env": {"A=B": "c"}}, "env: 'A=B' cannot name a variable"),
        ({"layers": [":low"], "env": {"": "c"}}, "env: '' cannot name a variable"),
        ({"layers": [":low"], "env": {"PORT": 8000}}, r"env\['PORT'\]: expected a string, got 8000"),
        ({"layers": [":low"], "workdir": "app"}, "workdir: expected an absolute path"),
        ({"layers": [":low"], "exposed_ports": ["http"]}, "exposed_ports: 'http' is not a port"),
        ({"layers": [":low"], "exposed_ports": ["65536"]}, "exposed_ports: '65536' is not a port"),
        ({"layers": [":low"], "workdir": "/app/../.."}, "workdir: expected an absolute path in the image, with no '.' or '..'"),
        ({"layers": [":low"], "stop_signal": "TERM"}, "stop_signal: 'TERM' is not a signal"),
        ({"layers": [":low"], "stop_signal": "SIGTREM"}, "stop_signal: 'SIGTREM' is not a signal"),
        ({"layers": [":low"], "stop_signal": "65"}, "stop_signal: '65' is not a signal"),
        ({"layers": [":low"], "user": "web app"}, "user: 'web app' is no user"),
        ({"layers": [":low"], "user": "1:2:3"}, "user: '1:2:3' is no user"),
        ({"layers": [":low"], "user": "-1"}, "user: '-1' is no user"),
        ({"layers": [":low"], "user": "1000:"}, "user: '1000:' is no user"),
        ({"layers": [":low"], "labels": {"": "x"}}, "labels: one has no name"),
        ({"layers": [":low"], "annotations": {"": "x"}}, "annotations: one has no name"),
        (
            {"base": ":b", "annotations": {"org.opencontainers.image.base.name": "x/y"}},
            "annotations: org.opencontainers.image.base.name is",
        ),
        ({"layers": [":low"], "env": {"A": "x\0"}}, "env: has a NUL in it"),
        ({"layers": [":low"], "cmd": ["x\0"]}, "cmd: has a NUL in it"),
        ({"layers": [":low"], "entrypoint": ["x\0"]}, "entrypoint: has a NUL in it"),
        ({"layers": [":low"], "architecture": "x86_64"}, "architecture: expected 'amd64' or 'arm64'"),
        ({}, "layers: is empty: an image needs a base or at least one layer"),
        ({"base": "debian"}, "base: "),
    ],
)
def test_refused(attributes: Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=rf"^images/app/BUILD.py:\d+: image\(name='app'\): {message}"):
        image(name="app", **attributes)


@pytest.mark.parametrize(
    "attributes",
    [
        *({"stop_signal": each} for each in ("SIGTERM", "SIGRTMIN+3", "SIGRTMAX-14", "9", "64")),
        *({"user": each} for each in ("0", "web-app", "1000:1000", "www:www-data")),
        {"workdir": "/"},
        {"workdir": "/app/"},
    ],
)
def test_taken(attributes: Any) -> None:
    image(name="app", layers=[":low"], **attributes)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A layout of one image with a layer of its own."""
    folder = tmp_path / "base"
    folder.mkdir()
    made = action(
        layers=[":os"],
        entrypoint=["/bin/sh", "-c"],
        cmd=["bash"],
        env={"PATH": "/bin", "LANG": "C"},
        labels={"os": "debian", "team": "base"},
        exposed_ports=["22"],
        user="0",
        workdir="/root",
        architecture="arm64",
        annotations={"org.opencontainers.image.title": "base"},
    )
    build(folder, made, [b"os"])
    return folder / "layout"


def on(base: Path, folder: Path, contents: list[bytes], **attributes: Any) -> Image:
    """The image that is built on a layout, with one layer per content."""
    folder.mkdir()
    made = action(base=":base", layers=[f":layer{number}" for number in range(len(contents))], **attributes)
    inputs: dict[str, Path] = {"base": base}
    for number, data in enumerate(contents):
        (folder / f"{number}.txt").write_bytes(data)
        written = {"layer": folder / f"{number}.tar", "descriptor": folder / f"{number}.json"}
        write_layer({"f": folder / f"{number}.txt"}, written, layer_params({f"/{number}.txt": "f"}))
        inputs |= {f"{output}_{number}": path for output, path in written.items()}
    assert inputs.keys() == made.inputs.keys()
    assemble(inputs, {"layout": folder / "layout"}, json.loads(json.dumps(made.params)))
    return read_image(folder / "layout")


def rewrite(layout: Path, change: Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], None]) -> None:
    """Change the entry in the index, the manifest and the configuration of a layout, with the digests made right again."""
    index = json.loads((layout / "index.json").read_bytes())
    (entry,) = index["manifests"]
    manifest = json.loads(blob_path(layout, entry["digest"]).read_bytes())
    config = json.loads(blob_path(layout, manifest["config"]["digest"]).read_bytes())
    change(entry, manifest, config)
    for descriptor, value in ((manifest["config"], config), (entry, manifest)):
        data = json.dumps(value).encode()
        descriptor.update(digest="sha256:" + hashlib.sha256(data).hexdigest(), size=len(data))
        blob_path(layout, descriptor["digest"]).write_bytes(data)
    (layout / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("name", ["base", "layout"])
def test_the_base_is_a_base_or_an_image(build_file: Loading, name: str) -> None:
    image(name="app", base=":it", layers=[":low"])
    artifact = Artifact("build/images/app/it", tree=True)
    made = build_file.declared[-1].rule.action(Context(Label("images/app", "app"), lambda label: {**outputs(label), name: artifact}))
    assert made is not None and made.inputs["base"] == artifact


def test_an_image_on_a_base(base: Path, tmp_path: Path) -> None:
    below = read_image(base)
    image = on(base, tmp_path / "app", [b"app", b"model"])
    assert image.layers[:1] == below.layers and len(image.layers) == 3
    assert image.diff_ids[:1] == below.diff_ids and len(image.diff_ids) == 3
    assert [entry["created_by"] for entry in image.config["history"]] == ["images/app:os", "images/app:layer0", "images/app:layer1"]
    assert image.config["config"] == below.config["config"]
    assert image.platform == {"architecture": "arm64", "os": "linux"}
    # A base that is in no registry has no name that others know.
    assert image.manifest["annotations"] == {"org.opencontainers.image.base.digest": below.descriptor.digest}
    for layer in image.layers:
        assert blob_path(tmp_path / "app" / "layout", layer.digest).stat().st_size == layer.size


@pytest.mark.parametrize(
    ("attributes", "changed"),
    [
        ({"entrypoint": ["/serve"]}, {"Entrypoint": ["/serve"], "Cmd": None}),
        ({"entrypoint": ["/serve"], "cmd": ["-v"]}, {"Entrypoint": ["/serve"], "Cmd": ["-v"]}),
        ({"cmd": ["zsh"]}, {"Cmd": ["zsh"]}),
        ({"entrypoint": []}, {"Entrypoint": None, "Cmd": None}),
        ({"cmd": []}, {"Cmd": None}),
        ({"env": {"LANG": "de", "A": "b=c"}}, {"Env": ["LANG=de", "PATH=/bin", "A=b=c"]}),
        ({"labels": {"team": "search"}}, {"Labels": {"os": "debian", "team": "search"}}),
        ({"exposed_ports": ["8000"]}, {"ExposedPorts": {"22": {}, "8000": {}}}),
        ({"user": "65532", "workdir": "/app", "stop_signal": "SIGINT"}, {"User": "65532", "WorkingDir": "/app", "StopSignal": "SIGINT"}),
    ],
)
def test_the_configuration_is_changed_as_a_dockerfile_would(base: Path, tmp_path: Path, attributes: Any, changed: Any) -> None:
    image = on(base, tmp_path / "app", [b"app"], **attributes)
    expected = {**read_image(base).config["config"], **changed}
    assert image.config["config"] == {name: value for name, value in expected.items() if value is not None}


def test_a_shallow_base_and_an_image_on_an_image_on_one(base: Path, tmp_path: Path) -> None:
    reference = "registry.example/debian@sha256:" + "0" * 64
    rewrite(base, lambda entry, manifest, config: entry.update(annotations={"org.opencontainers.image.ref.name": reference}))
    (os_layer,) = read_image(base).layers
    blob_path(base, os_layer.digest).unlink()
    first = on(base, tmp_path / "first", [b"app"])
    second = on(tmp_path / "first" / "layout", tmp_path / "second", [b"model"])
    for made, below, layout in ((first, read_image(base), "first"), (second, first, "second")):
        assert made.source == reference
        assert made.manifest["annotations"] == {
            "org.opencontainers.image.base.digest": below.descriptor.digest,
            "org.opencontainers.image.base.name": reference,
        }
        assert made.layers[0] == os_layer
        present = [blob_path(tmp_path / layout / "layout", layer.digest).exists() for layer in made.layers]
        assert present == [False, *[True] * (len(made.layers) - 1)]


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_what_is_kept_of_a_foreign_base(base: Path, tmp_path: Path, codec: str) -> None:
    def change(entry: dict[str, Any], manifest: dict[str, Any], config: dict[str, Any]) -> None:
        entry["mediaType"] = manifest["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json"
        manifest["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
        manifest["layers"][0] |= {"mediaType": f"application/vnd.docker.image.rootfs.diff.tar.{codec}", "annotations": {"a": "b"}}
        config |= {"variant": "v8", "docker_version": "20", "history": [{"created_by": "a"}, {"created_by": "b", "empty_layer": True}]}
        config["config"] |= {"Healthcheck": {"Test": ["CMD", "true"]}, "Volumes": None, "OnBuild": []}

    rewrite(base, change)
    image = on(base, tmp_path / "app", [b"app"])
    assert image.manifest["layers"][0]["mediaType"] == f"application/vnd.oci.image.layer.v1.tar+{codec}"
    assert image.manifest["layers"][0]["annotations"] == {"a": "b"}
    assert image.manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert image.platform["variant"] == "v8" and image.config["config"]["Healthcheck"] == {"Test": ["CMD", "true"]}
    assert "docker_version" not in image.config and {"Volumes", "OnBuild"}.isdisjoint(image.config["config"])
    assert [entry["created_by"] for entry in image.config["history"]] == ["a", "b", "images/app:layer0"]


def test_a_history_that_does_not_tell_of_each_layer(base: Path, tmp_path: Path) -> None:
    rewrite(base, lambda entry, manifest, config: config.pop("history"))
    image = on(base, tmp_path / "app", [b"app"])
    assert [entry["created_by"] for entry in image.config["history"]] == ["base", "images/app:layer0"]


def test_another_architecture_than_the_base_has(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="its base is for arm64, and it is declared for amd64: leave out architecture"):
        on(base, tmp_path / "app", [b"app"], architecture="amd64")


def test_a_base_that_lacks_a_layer_nobody_knows_of(base: Path, tmp_path: Path) -> None:
    (layer,) = read_image(base).layers
    blob_path(base, layer.digest).unlink()
    with pytest.raises(ActionError, match=f"its base lacks the layer {layer.digest}, and nothing says which registry has it"):
        on(base, tmp_path / "app", [b"app"])


def test_a_base_with_a_layer_that_is_cut_off(base: Path, tmp_path: Path) -> None:
    (layer,) = read_image(base).layers
    blob = blob_path(base, layer.digest)
    cut = blob.read_bytes()[:-1]
    blob.unlink()
    blob.write_bytes(cut)
    with pytest.raises(ActionError, match=f"has {layer.size - 1} bytes, but its descriptor says {layer.size}"):
        on(base, tmp_path / "app", [b"app"])


def test_a_base_that_was_changed(base: Path, tmp_path: Path) -> None:
    below = read_image(base)
    path = blob_path(base, below.descriptor.digest)
    path.write_bytes(path.read_bytes().replace(b"base", b"bass"))
    with pytest.raises(ActionError, match=rf"is not the layout of an image \({below.descriptor.digest} has the digest sha256:"):
        on(base, tmp_path / "app", [b"app"])
