"""An existing Dockerfile, built by a real BuildKit, as a base: with build args, cache mounts and secrets."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from dockerd import Engine
from throwaway import Report, Workspace

BUILD = """
from enginewright import dockerfile_base, files_layer, glob, image

dockerfile_base(
    name="base", srcs=glob("site/**"), args={"GREETING": "hello"},
    secrets={"token": "env:API_TOKEN", "config": "file:%s"},
)
files_layer(name="app", files={"/app.txt": "app.txt"})
image(name="image", base=":base", layers=[":app"])
"""
PYTHON = "/usr/bin/python3.11"
DOCKERFILE = f"""
FROM images/base:base
ARG GREETING
COPY site /site
RUN --mount=type=cache,target=/cache --mount=type=secret,id=token --mount=type=secret,id=config \\
    ["{PYTHON}", "-c", "import os, pathlib; \\
cache = pathlib.Path('/cache/count'); \\
count = int(cache.read_text()) + 1 if cache.exists() else 1; \\
cache.write_text(str(count)); \\
token = pathlib.Path('/run/secrets/token').read_text(); \\
print('the token is', token); \\
config = pathlib.Path('/run/secrets/config').read_text(); \\
pathlib.Path('/made').write_text(f'{{os.environ[\\"GREETING\\"]}} {{count}} {{len(token)}} {{len(config)}}')"]
ENV MADE=1
"""
TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def python_base(checkout: Workspace, dockerd: Engine) -> None:
    """Docker knows the example's base, which has a Python, and no shell."""
    report = Report.of(checkout.doit("build", "--json", "images/base"))
    if report.skipped:
        message = f"the example's base cannot be built here: it {report.actions['images/base:base.debs']['reason']}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    loading = Workspace(checkout.root, checkout.store, checkout.trace.path)
    loading.environment |= dockerd.environment
    loading.doit("load", "images/base:base")


@pytest.fixture
def workspace(empty: Workspace, tmp_path: Path, dockerd: Engine) -> Workspace:
    empty.write({"images/x/BUILD.py": BUILD % (tmp_path / "config"), "images/x/app.txt": "app"})
    empty.write({"images/x/Dockerfile": DOCKERFILE, "images/x/site/index.html": "<html>", "images/x/site/run.sh": "#!/bin/sh\n"})
    (tmp_path / "config").write_text("12345")
    empty.environment |= {**dockerd.environment, "API_TOKEN": TOKEN}
    return empty


def config_of(workspace: Workspace, name: str) -> dict[str, object]:
    blobs = workspace.root / f"build/images/x/{name}/blobs/sha256"
    index = json.loads((blobs.parents[1] / "index.json").read_text())
    manifest = json.loads((blobs / index["manifests"][0]["digest"].removeprefix("sha256:")).read_text())
    return dict(json.loads((blobs / manifest["config"]["digest"].removeprefix("sha256:")).read_text()))


def content(workspace: Workspace, name: str) -> dict[str, tuple[bytes, int]]:
    """The files in the layers of a base, with their modes."""
    found = {}
    for blob in (workspace.root / "build/images/x" / name / "blobs/sha256").iterdir():
        if tarfile.is_tarfile(blob):
            with tarfile.open(blob) as tar:
                for member in tar:
                    if member.isreg():
                        found[member.name] = (tar.extractfile(member).read(), member.mode & 0o777)  # type: ignore[union-attr]
    return found


def test_built_once_and_kept_without_its_secrets(python_base: None, workspace: Workspace, dockerd: Engine) -> None:
    report = workspace.build("images/x:image")
    assert report.built == {"images/x:base", "images/x:app", "images/x:image"}
    files = content(workspace, "base")
    assert files["made"][0] == f"hello 1 {len(TOKEN)} 5".encode()
    assert files["site/run.sh"][1] == 0o755 and files["site/index.html"] == (b"<html>", 0o644)
    settings = config_of(workspace, "image")["config"]
    assert isinstance(settings, dict) and "MADE=1" in settings["Env"]
    # The token was printed, and is nowhere.
    log = workspace.read("build/.enginewright/logs/images/x/base.log")
    assert "the token is [secret]" in log
    places = [path for top in (workspace.root, workspace.store) for path in top.rglob("*") if path.is_file()]
    assert not [path for path in places if TOKEN.encode() in path.read_bytes()]
    assert TOKEN not in dockerd.docker("system", "df", "--verbose")

    # Another value of a secret, and another time of a file: nothing runs. Another arg: the cache mount is as it was left.
    workspace.environment["API_TOKEN"] = "another"
    os.utime(workspace.root / "images/x/site/index.html", (0, 0))
    assert not workspace.build("images/x:image").ran
    workspace.write({"images/x/BUILD.py": workspace.read("images/x/BUILD.py").replace('"hello"', '"goodbye"')})
    assert "images/x:base" in workspace.build("images/x:image").built
    assert content(workspace, "base")["made"][0] == f"goodbye 2 {len('another')} 5".encode()


def test_a_locked_build_takes_it_as_it_is_locked(python_base: None, workspace: Workspace, tmp_path: Path) -> None:
    """BuildKit makes other layers each time."""
    workspace.build("images/x:image")
    workspace.doit("lock")
    assert '[outputs."images/x:base"]\nclass = "unknown"' in workspace.read("build.lock")
    elsewhere = workspace.clone(tmp_path / "elsewhere", tmp_path / "an empty store")
    elsewhere.environment |= workspace.environment | {"ENGINEWRIGHT_STORE": str(elsewhere.store)}
    reason = elsewhere.build("--locked", "images/x:image", code=1).actions["images/x:base"]["reason"]
    assert "which is not in the store: bring the locked bytes there" in reason
    beside = workspace.clone(tmp_path / "beside")
    beside.environment["DOCKER_HOST"] = f"unix://{tmp_path}/none.sock"
    assert beside.build("--locked", "images/x:image").cached == {"images/x:base", "images/x:app", "images/x:image"}
    workspace.write({"build.lock": workspace.read("build.lock").partition("[outputs")[0]})
    workspace.doit("forget", "images/x:base")
    reason = workspace.build("--locked", "images/x:image", code=1).actions["images/x:base"]["reason"]
    assert "would not come out the same again, and is not in the lock" in reason


def test_what_it_is_built_on_runs(python_base: None, workspace: Workspace, dockerd: Engine) -> None:
    workspace.doit("load", "images/x:image")
    said = dockerd.docker("run", "--rm", "images/x:image", PYTHON, "-c", "print(open('/made').read(), open('/app.txt').read())")
    assert said.endswith("5 app\n")


@pytest.mark.parametrize(
    ("dockerfile", "reason"),
    [
        ("FROM scratch\nCOPY nowhere /\n", "the Dockerfile could not be built: "),
        ("FRUM scratch\n", "unknown instruction: FRUM"),
        ("FROM scratch AS one\nCOPY site /\n", ""),
    ],
)
def test_a_dockerfile_that_cannot_be_built(workspace: Workspace, dockerfile: str, reason: str) -> None:
    workspace.write({"images/x/Dockerfile": dockerfile})
    if not reason:
        workspace.build("images/x:base")
        return
    report = workspace.build("images/x:base", code=1)
    assert reason in report.actions["images/x:base"]["reason"]
    assert not (workspace.root / "build/images/x/base").exists()


@pytest.mark.parametrize(
    ("secret", "reason"),
    [("env:NOT_SET_HERE", "the variable NOT_SET_HERE is not set"), ("file:/nowhere", "/nowhere: No such file or directory")],
)
def test_a_secret_that_is_not_there(workspace: Workspace, secret: str, reason: str) -> None:
    workspace.write({"images/x/BUILD.py": workspace.read("images/x/BUILD.py").replace("env:API_TOKEN", secret)})
    assert reason in workspace.build("images/x:base", code=1).actions["images/x:base"]["reason"]


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ('secrets={"token": "hunter2"}', "never the value itself"),
        ('secrets={"a b": "env:A"}', "'a b' cannot be the id of a secret"),
        ('args={"A B": "c"}', "'A B' cannot be the name of a build arg"),
        ('srcs=["dist://numpy/x.txt"]', "dist://numpy/x.txt is not in the package"),
    ],
)
def test_refused(workspace: Workspace, attribute: str, message: str) -> None:
    workspace.write({"images/x/BUILD.py": f"from enginewright import dockerfile_base\n\ndockerfile_base(name='base', {attribute})\n"})
    assert message in workspace.refuse("build")
