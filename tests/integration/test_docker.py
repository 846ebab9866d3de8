"""Images in a real Docker Engine: loaded by the layers it lacks, run, tested, and gone afterwards."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import sklearn

from dockerd import Engine, engine
from enginewright.daemon import load
from registries import need, running
from scripted import Says, scripted
from small_disk import mounted
from throwaway import PYPROJECT, Report, Workspace

CHINA = Path(sklearn.__file__).parent / "datasets/images/china.jpg"
PALACE = 698

BUILD = """
from enginewright import files_layer, image

files_layer(name="low", files={"/low": "low.txt"}, compression="%s")
files_layer(name="high", files={"/high": "high.txt"}, compression="%s")
image(name="image", layers=[":low", ":high"], cmd=["/nothing"])
"""


@pytest.fixture
def workspace(empty: Workspace, tmp_path: Path, dockerd: Engine) -> Workspace:
    """One image of two layers, new ones for each test."""
    empty.write({"images/x/BUILD.py": BUILD % ("none", "none")})
    empty.write({f"images/x/{name}.txt": f"{name} of {tmp_path}\n" for name in ("low", "high")})
    empty.environment |= dockerd.environment
    return empty


@pytest.fixture(scope="module")
def classifier(checkout: Workspace, dockerd: Engine) -> Workspace:
    """The workspace of the examples, with the serving image built, where Docker is at hand."""
    report = Report.of(checkout.doit("build", "--json", "images/classifier"))
    if "images/classifier:image" in report.skipped:
        message = f"the example's image cannot be built here: it {report.actions['images/base:base.debs']['reason']}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    made = Workspace(checkout.root, checkout.store, checkout.trace.path)
    made.environment |= dockerd.environment
    return made


def loaded(workspace: Workspace, *arguments: str) -> dict[str, object]:
    (found,) = json.loads(workspace.doit("load", "--json", *arguments).stdout)
    return dict(found)


@pytest.mark.parametrize("codecs", [("none", "none"), ("gzip", "gzip"), ("zstd", "zstd")])
def test_only_what_docker_lacks_is_sent(workspace: Workspace, dockerd: Engine, codecs: tuple[str, str]) -> None:
    workspace.write({"images/x/BUILD.py": BUILD % codecs})
    first = loaded(workspace, "images/x:image")
    assert (first["layers"], first["sent_layers"], first["names"], first["whole"]) == (2, 2, ["images/x:image"], "")
    assert dockerd.docker("inspect", "--format", "{{.Id}}", "images/x:image").strip() == first["image"]
    assert loaded(workspace, "images/x:image")["sent_layers"] == 0
    workspace.write({"images/x/high.txt": "changed\n"})
    done = workspace.doit("load", "--json", "images/x:image", "--tag", "team/x:1.0", "-t", "other")
    (second,) = json.loads(done.stdout)
    assert [line[:17] for line in done.stderr.splitlines() if line.startswith("  ") and "sha256" in line] == ["  sent    sha256:"]
    assert second["sent_layers"] == 1 and second["names"] == ["team/x:1.0", "other:latest"]
    layers = json.loads(dockerd.docker("inspect", "--format", "{{json .RootFS.Layers}}", "team/x:1.0"))
    before = json.loads(dockerd.docker("inspect", "--format", "{{json .RootFS.Layers}}", "images/x:image"))
    assert layers[0] == before[0] and layers[1] != before[1]
    # What Docker made of the layer that was sent alone is what is in it.
    made = dockerd.docker("create", "team/x:1.0").strip()
    dockerd.docker("cp", f"{made}:/high", workspace.root / "high")
    dockerd.docker("cp", f"{made}:/low", workspace.root / "low")
    dockerd.docker("rm", made)
    assert workspace.read("high") == "changed\n" and workspace.read("low") == workspace.read("images/x/low.txt")


SAME = """
from enginewright import files_layer, image

files_layer(name="low", files={"/low": "low.txt"})
files_layer(name="same", files={"/low": "low.txt"})
files_layer(name="high", files={"/high": "high.txt"})
image(name="image", layers=[":low", ":same", ":high"], cmd=["/nothing"])
"""


def test_one_blob_that_is_two_layers(workspace: Workspace, dockerd: Engine) -> None:
    workspace.write({"images/x/BUILD.py": SAME})
    assert loaded(workspace, "images/x:image")["sent_layers"] == 3
    workspace.write({"images/x/high.txt": f"changed, in {workspace.root}\n"})
    second = loaded(workspace, "images/x:image")
    assert (second["sent_layers"], second["whole"]) == (1, "")


def test_more_layers_than_docker_takes(workspace: Workspace, dockerd: Engine) -> None:
    layers = [f'files_layer(name="l{n}", folders=["/{n}"])' for n in range(126)]
    image = 'image(name="%s", layers=[f":l{n}" for n in range(%d)], cmd=["/nothing"])'
    text = "\n".join(["from enginewright import files_layer, image", *layers, image % ("most", 125), image % ("more", 126)])
    workspace.write({"images/x/BUILD.py": text})
    assert loaded(workspace, "images/x:most")["sent_layers"] == 125
    done = workspace.doit("load", "--json", "images/x:most", "images/x:more", code=1)
    assert [each["label"] for each in json.loads(done.stdout)] == ["images/x:most"]
    line = done.stderr.splitlines()[-1]
    assert line.startswith("images/x:more: max depth exceeded: it has 126 layers, and Docker puts at most 125 on one another"), line


def test_an_index_in_a_package_is_left_out(workspace: Workspace, dockerd: Engine) -> None:
    more = """
from enginewright import image_index
image(name="arm", layers=[":low"], architecture="arm64")
image_index(name="all", images=[":arm", ":image"])
image(name="last", layers=[":high"])
"""
    workspace.write({"images/x/BUILD.py": BUILD % ("none", "none") + more})
    done = workspace.doit("load", "images/x", "--json")
    assert {each["label"] for each in json.loads(done.stdout)} == {"images/x:arm", "images/x:image", "images/x:last"}
    assert "left out images/x:all: it is an index of 2 images\n" in done.stderr
    done = workspace.doit("load", "images/x:all", code=1)
    assert done.stderr.endswith("holds an index of 2 images, where one image is expected: name one of them\n")


def test_no_room_to_unpack_a_layer(workspace: Workspace, dockerd: Engine, tmp_path: Path) -> None:
    workspace.write({"images/x/BUILD.py": BUILD % ("zstd", "none")})
    with (workspace.root / "images/x/low.txt").open("wb") as file:
        file.truncate(32 << 20)
    workspace.build()
    with mounted(tmp_path / "small", "size=8m") as small:
        workspace.environment["TMPDIR"] = str(small)
        line = workspace.doit("load", "images/x:image", code=1).stderr.splitlines()[-1]
        assert line == f"images/x:image: No space left on device; make room in {small}, or have TMPDIR name another folder"
        assert not list(small.iterdir())


def test_an_image_that_docker_has_by_another_name_is_only_named(workspace: Workspace, dockerd: Engine) -> None:
    image = loaded(workspace, "images/x:image")["image"]
    again = loaded(workspace, "images/x:image", "--tag", "named:again")
    assert again["sent_bytes"] == 0 and dockerd.docker("inspect", "--format", "{{.Id}}", "named:again").strip() == image


def test_where_docker_is_not_running(workspace: Workspace) -> None:
    workspace.environment["DOCKER_HOST"] = "unix:///nowhere/docker.sock"
    for command in (["load", "images/x:image"], ["run-image", "images/x:image"]):
        line = workspace.refuse(*command)
        assert line.startswith("Docker is not running, or not here (unix:///nowhere/docker.sock: No such file or directory): start it")
    assert not (workspace.root / "build/images").exists()
    workspace.environment["DOCKER_HOST"] = "ssh://user@host.invalid"
    assert "Install paramiko package to enable ssh:// support" in workspace.refuse("load", "images/x:image")


def test_another_server_than_docker(workspace: Workspace) -> None:
    with scripted(lambda asked: Says(200, b"hello")) as server:
        workspace.environment["DOCKER_HOST"] = f"tcp://{server.host}"
        line = workspace.refuse("load", "images/x:image")
    assert f"Docker is not running, or not here (tcp://{server.host}: Error while fetching server API version: Expecting value" in line


def test_a_context_that_is_not_there(workspace: Workspace) -> None:
    """The Engine of this machine is not the one that was meant."""
    workspace.environment |= {"DOCKER_HOST": "", "DOCKER_CONTEXT": "gone", "DOCKER_CONFIG": str(workspace.root)}
    line = workspace.refuse("load", "images/x:image")
    assert line == "there is no docker context 'gone', as DOCKER_CONTEXT says: `docker context ls` lists them"
    workspace.environment["DOCKER_CONTEXT"] = ""
    workspace.write({"config.json": json.dumps({"currentContext": "also gone"})})
    line = workspace.refuse("load", "images/x:image")
    assert line == "there is no docker context 'also gone', which is the current one: `docker context ls` lists them"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["load"], "doit load: say what"),
        (["load", "images/x:low"], "images/x:low is a files_layer, which makes no image"),
        (["load", "images/x:image", "--tag", "Upper:1"], "'Upper:1' is no name of an image in Docker"),
        (["run-image", "images/x"], "doit run-image takes one label"),
        (["run-image", "images/x:image", "-p", "80"], "--publish 80: expected HOSTPORT:PORT"),
        (["run-image", "images/x:image", "--health", "healthz"], "--health healthz: expected a path, as /healthz"),
        (["run-image", "images/x:image", "--timeout", "0"], "--timeout 0: expected at least 1 second"),
        (["run-image", "images/x:image", "--env", "NOT_SET_HERE"], "--env NOT_SET_HERE: expected NAME=VALUE"),
    ],
)
def test_refused(workspace: Workspace, arguments: list[str], message: str) -> None:
    assert message in workspace.refuse(*arguments)


def test_a_layer_that_was_damaged_on_disk_is_not_what_docker_gets(workspace: Workspace, dockerd: Engine) -> None:
    workspace.build()
    blob = max((workspace.root / "build/images/x/image/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-600])
    assert loaded(workspace, "images/x:image")["sent_layers"] == 2  # healed from the store first


def test_an_image_that_cannot_start_leaves_no_container(workspace: Workspace, dockerd: Engine) -> None:
    done = workspace.doit("run-image", "images/x:image", code=1)
    assert "no such file or directory" in done.stderr
    assert dockerd.containers() == []


def test_the_serving_image_classifies_a_photograph(classifier: Workspace, dockerd: Engine) -> None:
    """With no more than `docker run`."""
    classifier.doit("load", "images/classifier:image", "--tag", "classifier:test")
    container = dockerd.docker("run", "--detach", "--read-only", "--publish", "127.0.0.1::8000", "classifier:test").strip()
    try:
        address = f"http://{dockerd.docker('port', container, '8000/tcp').split()[0]}"
        deadline = time.monotonic() + 60
        while True:
            try:
                assert json.load(urllib.request.urlopen(f"{address}/healthz", timeout=5)) == {"status": "ok"}
                break
            except OSError:
                assert time.monotonic() < deadline, dockerd.docker("logs", container)
                time.sleep(0.2)
        answer = json.load(urllib.request.urlopen(f"{address}/predict", data=CHINA.read_bytes(), timeout=60))
        assert answer["class"] == PALACE and answer["top"][0]["class"] == PALACE
    finally:
        dockerd.docker("rm", "--force", container)


def test_a_declared_test_passes_once_and_is_then_known(classifier: Workspace, dockerd: Engine) -> None:
    assert "images/classifier:test" in classifier.build("images/classifier").built
    assert classifier.build("images/classifier").up_to_date >= {"images/classifier:test"}
    assert dockerd.containers() == []


@pytest.fixture
def tested(classifier: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    """A package of its own for declared tests of the serving image."""
    place = classifier.root / "images/tested"
    yield classifier
    for path in place.glob("*"):
        path.unlink()


def declare(workspace: Workspace, checks: str, more: str = "") -> None:
    text = f"""
    from enginewright import command_check, http_check, image_test

    image_test(name="test", image="images/classifier:image", checks=[{checks}], {more})
    """
    workspace.write({"images/tested/BUILD.py": text})


@pytest.mark.parametrize(
    ("checks", "more", "reason"),
    [
        ('http_check("/healthz", json={"status": "ill"})', "", "GET /healthz: expected 'ill' at .status, got 'ok'\nit answered: {"),
        ('http_check("/nowhere")', "", "GET /nowhere: expected status 200, got 404"),
        ('command_check("/opt/venv/bin/python", "-c", "exit(3)")', "", "expected exit code 0, got 3"),
        (
            'http_check("/healthz")',
            'env={"MODEL": "/nowhere"}',
            "the container has ended, with exit code 1\nits log ends with:",
        ),
        ('http_check("/healthz")', "port=8001, timeout=4", "the container was not healthy after 4 s"),
    ],
)
def test_a_declared_test_that_fails_says_why(tested: Workspace, dockerd: Engine, checks: str, more: str, reason: str) -> None:
    declare(tested, checks, more)
    report = tested.build("images/tested", code=1)
    assert reason in report.actions["images/tested:test"]["reason"]
    assert dockerd.containers() == []


def test_a_test_that_is_interrupted_leaves_no_container(tested: Workspace, dockerd: Engine) -> None:
    declare(tested, 'command_check("/opt/venv/bin/python", "-c", "import time; time.sleep(60)")')
    for number in (signal.SIGINT, signal.SIGKILL):
        build = tested.start("build", "images/tested")
        wait_for(lambda: bool(dockerd.containers()))
        time.sleep(1)
        build.send_signal(number)
        build.communicate()
        wait_for(lambda: dockerd.containers() == [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_run_image_serves_until_it_is_interrupted(classifier: Workspace, dockerd: Engine, number: signal.Signals) -> None:
    run = classifier.start("run-image", "images/classifier:image", "--health", "/healthz", "--env=PORT=8000")
    assert run.stderr is not None
    try:
        line = next(line for line in run.stderr if "8000/tcp is" in line)
        place = re.search(r"127\.0\.0\.1:\d+", line)
        assert place is not None
        assert json.load(urllib.request.urlopen(f"http://{place[0]}/healthz", timeout=10)) == {"status": "ok"}
    finally:
        run.send_signal(number)
    _, said = run.communicate()
    assert run.returncode == 130 and said.strip().endswith("interrupted")
    assert dockerd.containers() == []


STUBBORN = """
from enginewright import image

image(name="i", base="images/middleware:middleware", cmd=["/opt/venv/bin/python", "-uc", "import time; print('begun'); time.sleep(600)"])
"""


def test_run_image_ends_when_nobody_reads_on(classifier: Workspace, dockerd: Engine) -> None:
    classifier.write(
        {"images/stubborn/BUILD.py": STUBBORN.replace("time.sleep(600)", "[print(n) or time.sleep(0.1) for n in range(6000)]")}
    )
    run = classifier.start("run-image", "images/stubborn:i")
    assert run.stdout is not None
    assert run.stdout.readline() == "begun\n"
    run.stdout.close()
    assert run.stderr is not None
    assert "ERROR" not in run.stderr.read()
    assert run.wait() == 0 and dockerd.containers() == []


def test_what_run_image_left_when_it_was_killed_goes_with_the_next(classifier: Workspace, dockerd: Engine) -> None:
    classifier.write({"images/stubborn/BUILD.py": STUBBORN})
    for _ in range(2):
        run = classifier.start("run-image", "images/stubborn:i")
        assert run.stdout is not None
        assert run.stdout.readline() == "begun\n"
        assert len(dockerd.containers()) == 1
        run.kill()
        run.wait()
    run = classifier.start("run-image", "images/stubborn:i")
    assert run.stdout is not None
    assert run.stdout.readline() == "begun\n"
    other = classifier.start("run-image", "images/stubborn:i")
    assert other.stdout is not None
    assert other.stdout.readline() == "begun\n"
    assert len(dockerd.containers()) == 2, "what still runs is left alone"
    began = time.monotonic()
    for each in (run, other):
        each.send_signal(signal.SIGINT)
        time.sleep(1)
        each.send_signal(signal.SIGINT)  # it does not stop by itself, and somebody is impatient
        each.communicate()
    assert dockerd.containers() == [] and time.monotonic() - began < 2 * 5 + 2


def test_docker_that_goes_away_in_the_middle(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> None:
    with (workspace.root / "images/x/low.txt").open("wb") as file:
        file.truncate(1 << 30)
    workspace.build()
    with engine(tmp_path_factory.mktemp("own") / "engine") as own:
        workspace.environment |= own.environment
        process = int((own.folder / "pid").read_text())
        loading = workspace.start("load", "--json", "images/x:image")
        wait_for(lambda: list((own.folder / "data/tmp").glob("docker-import-*/*.tar")))
        os.kill(process, signal.SIGKILL)
        out, said = loading.communicate()
    assert (loading.returncode, json.loads(out)) == (1, [])
    assert re.fullmatch(rf"images/x:image: the connection to Docker \({own.host}\) broke: [A-Z][a-z ]+", said.splitlines()[-1]), said


def test_a_container_that_ends_by_itself_has_shown_what_it_printed_and_its_exit_code_is_passed_on(
    tested: Workspace, dockerd: Engine
) -> None:
    declared = """
    from enginewright import image

    image(name="batch", base="images/middleware:middleware", layers=[], cmd=["/opt/venv/bin/python", "-c", "print('done'); exit(4)"])
    """
    tested.write({"images/tested/BUILD.py": declared})
    assert tested.doit("run-image", "images/tested:batch", code=4).stdout.endswith("done\n")
    assert dockerd.containers() == []


def wait_for(condition: object, seconds: float = 60) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_skopeo_and_docker_agree_on_what_was_loaded(workspace: Workspace, dockerd: Engine) -> None:
    image = loaded(workspace, "images/x:image")["image"]
    command = [
        "skopeo",
        "--insecure-policy",
        "copy",
        "--dest-daemon-host",
        dockerd.host,
        "oci:build/images/x/image",
        "docker-daemon:by:skopeo",
    ]
    subprocess.run(command, cwd=workspace.root, check=True, capture_output=True)
    assert dockerd.docker("inspect", "--format", "{{.Id}}", "by:skopeo").strip() == image


def test_an_engine_that_wants_all_layers_gets_them(workspace: Workspace, dockerd: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where layers were thought to be there that are not: nothing half-loaded stays, and all are sent."""
    workspace.build()
    monkeypatch.setattr(load, "_known", lambda *_: 1)
    client = docker.DockerClient(dockerd.host)
    try:
        done = load.load(client, workspace.root / "build/images/x/image", ["all:layers"])
    finally:
        client.close()
    assert (done.sent_layers, done.layers) == (2, 2) and done.whole.startswith("it did not take the new layers alone (")
    assert dockerd.docker("inspect", "--format", "{{.Id}}", "all:layers").strip() == done.image


def test_a_layer_that_neither_has_comes_from_the_registry_of_the_base(workspace: Workspace, dockerd: Engine, tmp_path: Path) -> None:
    need("docker-registry")
    with running(tmp_path / "registry") as registry:
        pushed = json.loads(workspace.doit("push", "--json", "images/x:image", "--to", f"{registry.host}/base:1").stdout)
        digest = re.search(r"sha256:[0-9a-f]{64}", json.dumps(pushed))
        assert digest is not None
        text = f"""
        from enginewright import files_layer, image, oci_base

        oci_base(name="base", image="{registry.host}/base@{digest[0]}")
        files_layer(name="app", files={{"/app": "app.txt"}})
        image(name="image", base=":base", layers=[":app"])
        """
        shallow = Workspace(tmp_path / "shallow", tmp_path / "shallow store", tmp_path / "trace")
        shallow.environment |= dockerd.environment
        shallow.write({"dodo.py": "", "pyproject.toml": PYPROJECT, "images/y/BUILD.py": text, "images/y/app.txt": f"{tmp_path}"})
        shallow.build()
        found = loaded(shallow, "images/y:image")
    assert (found["layers"], found["sent_layers"]) == (3, 3)
    assert dockerd.docker("inspect", "--format", "{{.Id}}", "images/y:image").strip() == found["image"]
