"""A cache shared with other machines: `doit build` against real servers, each of them on the loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from buildgrid.common.protos.google.bytestream import bytestream_pb2 as bytestream

import cacheservers
import certificates
import seaweed
from faulty import Faults, proxy
from throwaway import PYPROJECT, Pipe, Report, Workspace

BUILD = """
from enginewright import python_action

python_action(name="first", function="make.py:copy", inputs={"text": "text.txt"}, outputs={"out": "first.txt"}, params={"times": 150_000})
python_action(name="second", function="make.py:copy", inputs={"text": ":first"}, outputs={"out": "second.txt", "more": "more.txt"})
python_action(name="last", function="make.py:copy", inputs={"text": ":second"}, outputs={"out": "last.txt"}, params={"times": 1})
"""

FIRST, SECOND, LAST = "models/x:first", "models/x:second", "models/x:last"
ALL = {FIRST, SECOND, LAST}
SIZE = 150_000 * len("some text\n")
"""Bytes of each output: more than travel in a batch."""


@pytest.fixture(params=["casd", "nginx", "s3", "folder"])
def cache(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty shared cache."""
    folder = tmp_path / "cache"
    folder.mkdir()
    if request.param == "folder":
        yield f"file://{folder}"
    elif request.param == "s3":
        with seaweed.serving(folder / "s3") as environment:
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            yield "s3://models/team"
    elif request.param == "nginx":
        with cacheservers.running(cacheservers.nginx(folder)) as server:
            yield f"http://{server.address}/team"
    else:
        with cacheservers.running(cacheservers.casd(folder)) as server:
            yield f"grpc://{server.address}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a shared cache."""
    return tmp_path / "shared"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with a chain of three actions."""
    made = Workspace(tmp_path / "root", tmp_path / "store", tmp_path / "trace")
    made.write({"dodo.py": "", "pyproject.toml": PYPROJECT, "models/x/BUILD.py": BUILD, "models/x/make.py": made.make})
    made.write({"models/x/text.txt": "some text\n"})
    return made


def elsewhere(workspace: Workspace, name: str) -> Workspace:
    """The same sources on another machine, which has built nothing yet."""
    other = workspace.clone(workspace.root.parent / name / "root", workspace.root.parent / name / "store")
    other.environment |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return other


def remote(workspace: Workspace, *arguments: str, code: int = 0) -> tuple[Report, dict[str, int]]:
    """Build, and what was had of the remote cache."""
    workspace.environment |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    workspace.trace.lines()
    done = workspace.doit("build", "--json", *arguments, code=code)
    report = Report.of(done)
    assert sorted(workspace.trace.lines()) == sorted(report.ran)
    return report, json.loads(done.stdout).get("remote", {})


def there(workspace: Workspace) -> set[str]:
    """The names of the outputs that are in place."""
    return {Path(path).name for path in workspace.files()}


def test_what_one_machine_made_another_gets(workspace: Workspace, cache: str) -> None:
    option = f"--remote-cache={cache}"
    made, traffic = remote(workspace, option)
    assert made.built == ALL
    assert (traffic["hits"], traffic["misses"], traffic["written"], traffic["failures"]) == (0, 3, 3, 0)
    other = elsewhere(workspace, "other")
    found, traffic = remote(other, option)
    assert found.cached == ALL
    assert (traffic["hits"], traffic["misses"], traffic["written"], traffic["failures"]) == (3, 0, 0, 0)
    # Three files have the same bytes, which come once, and the last has them twice; beside them come the records.
    assert 0 <= traffic["bytes_down"] - 3 * SIZE < 10_000
    assert other.files() == workspace.files()
    # And so it stays without the cache.
    assert other.build().up_to_date == ALL
    shutil.rmtree(other.root / "build")
    assert other.build().cached == ALL
    other.doit("cache", "verify")


def test_bytes_that_nobody_needs_stay_where_they_are(workspace: Workspace, folder: Path) -> None:
    option = f"--remote-cache=file://{folder}"
    remote(workspace, option)
    other = elsewhere(workspace, "other")
    found, traffic = remote(other, option, "--remote-download=minimal")
    assert found.cached == ALL
    assert there(other) == set()
    assert traffic["bytes_down"] < 10_000
    # It is known, and asked for no more.
    found, traffic = remote(other, option, "--remote-download=minimal")
    assert (found.up_to_date, traffic["hits"], traffic["bytes_down"]) == (ALL, 0, 0)
    other.doit("cache", "verify")
    # Who only looks knows of it, too.
    other.environment |= {"ENGINEWRIGHT_REMOTE_CACHE": f"file://{folder}", "ENGINEWRIGHT_REMOTE_DOWNLOAD": "minimal"}
    assert json.loads(other.doit("plan", "--json").stdout)["up_to_date"] == 3
    other.environment["ENGINEWRIGHT_REMOTE_DOWNLOAD"] = "all"
    planned = json.loads(other.doit("plan", "--json").stdout)
    assert {step["status"] for step in planned["steps"]} == {"to restore"}
    del other.environment["ENGINEWRIGHT_REMOTE_CACHE"]
    # An action that runs gets its inputs, and nothing else is fetched.
    other.write({"models/x/BUILD.py": BUILD.replace('{"times": 1}', '{"times": 2}')})
    found, traffic = remote(other, option, "--remote-download=minimal")
    assert found.built == {LAST}
    assert there(other) == {"second.txt", "more.txt", "last.txt"}
    assert SIZE <= traffic["bytes_down"] < SIZE + 10_000
    # What is asked for comes.
    found, _ = remote(other, option, FIRST)
    assert there(other) == {"first.txt", "second.txt", "more.txt", "last.txt"}
    found, _ = remote(other, option, "--remote-download=all")
    assert there(other) == {"first.txt", "second.txt", "more.txt", "last.txt"}
    assert other.build().up_to_date == ALL


def test_only_what_is_asked_for_is_fetched(workspace: Workspace, folder: Path) -> None:
    option = f"--remote-cache=file://{folder}"
    remote(workspace, option)
    other = elsewhere(workspace, "other")
    found, _ = remote(other, option, LAST)
    assert found.cached == ALL
    assert there(other) == {"last.txt"}


def test_an_old_output_does_not_stay_beside_a_result_that_was_left_there(workspace: Workspace, folder: Path) -> None:
    option = f"--remote-cache=file://{folder}"
    other = elsewhere(workspace, "other")
    remote(other)
    workspace.write({"models/x/text.txt": "another text\n"})
    remote(workspace, option)
    other.write({"models/x/text.txt": "another text\n"})
    found, _ = remote(other, option, LAST)
    assert found.cached == ALL
    assert there(other) == {"last.txt"}
    assert other.read("build/models/x/last/last.txt") == workspace.read("build/models/x/last/last.txt")


def test_an_intermediate_that_the_cache_has_lost_is_made_again(workspace: Workspace, folder: Path) -> None:
    option = f"--remote-cache=file://{folder}"
    workspace.write({"models/x/BUILD.py": BUILD.replace('"more": "more.txt"}', '"more": "more.txt"}, params={"times": 2}')})
    remote(workspace, option)
    other = elsewhere(workspace, "other")
    remote(other, option, "--remote-download=minimal")
    large = [path for path in (folder / "cas").iterdir() if path.stat().st_size >= SIZE]
    assert len(large) == 3
    for path in large:
        path.unlink()
    other.write({"models/x/BUILD.py": (other.root / "models/x/BUILD.py").read_text().replace('{"times": 1}', '{"times": 3}')})
    found, _ = remote(other, option, "--remote-download=minimal")
    assert found.built == ALL
    assert other.read("build/models/x/last/last.txt") == "some text\n" * 150_000 * 2 * 2 * 3
    # The next machine has it all again.
    third = elsewhere(other, "third")
    assert remote(third, option)[0].cached == ALL


def test_an_output_that_the_cache_has_lost_is_made_here(workspace: Workspace, folder: Path) -> None:
    option = f"--remote-cache=file://{folder}"
    remote(workspace, option)
    shutil.rmtree(folder / "cas")
    found, _ = remote(elsewhere(workspace, "other"), option)
    assert found.built >= {FIRST, LAST}  # the second has the bytes of the first
    assert remote(elsewhere(workspace, "third"), option)[0].cached == ALL


@pytest.mark.parametrize("spoil", [lambda data: bytes([data[0] ^ 1]) + data[1:], lambda data: data[:-1]], ids=["other", "fewer"])
def test_other_bytes_are_refused_and_said_once_and_put_right(workspace: Workspace, folder: Path, spoil: Callable[[bytes], bytes]) -> None:
    option = f"--remote-cache=file://{folder}"
    remote(workspace, option)
    for path in (folder / "cas").iterdir():
        if path.stat().st_size >= SIZE:
            path.write_bytes(spoil(path.read_bytes()))
    other = elsewhere(workspace, "other")
    found, traffic = remote(other, option)
    assert found.built >= {FIRST, LAST}  # the second has the bytes of the first
    assert traffic["refused"] > 0
    assert found.text.count("WARNING") == 1
    assert other.files() == workspace.files()
    third, traffic = remote(elsewhere(workspace, "third"), option)
    assert (third.cached, traffic["refused"]) == (ALL, 0)


@pytest.mark.parametrize("kind", ["ac", "records"])
def test_results_that_make_no_sense_are_refused(workspace: Workspace, folder: Path, kind: str) -> None:
    option = f"--remote-cache=file://{folder}"
    remote(workspace, option)
    results = sorted((folder / "ac").iterdir())
    if kind == "ac":
        results[0].write_bytes(b"no message at all")
        results[1].write_bytes(b"")
    else:  # each result in the place of another
        data = [path.read_bytes() for path in results]
        for path, other_data in zip(results, [*data[1:], data[0]]):
            path.write_bytes(other_data)
    other = elsewhere(workspace, "other")
    found, traffic = remote(other, option)
    assert found.built and found.code == 0
    assert traffic["refused"] >= len(found.built) - 1
    assert found.text.count("WARNING") == 1
    assert other.files() == workspace.files()
    assert remote(elsewhere(workspace, "third"), option)[0].cached == ALL


def test_directions(workspace: Workspace, folder: Path) -> None:
    option = f"--remote-cache=file://{folder}"
    _, traffic = remote(workspace, option, "--remote-mode=read")
    assert (traffic["written"], list(folder.rglob("*/*"))) == (0, [])
    other = elsewhere(workspace, "other")
    assert remote(other, option, "--remote-mode=write")[1]["written"] == 3
    third = elsewhere(workspace, "third")
    found, traffic = remote(third, option, "--remote-mode=write")
    assert (found.built, traffic["hits"], traffic["bytes_up"] < 10_000) == (ALL, 0, True)
    assert remote(elsewhere(workspace, "fourth"), option, "--remote-mode=read")[0].cached == ALL


def test_settings_stand_in_the_environment_or_in_pyproject_toml(workspace: Workspace, folder: Path) -> None:
    workspace.environment["ENGINEWRIGHT_REMOTE_CACHE"] = f"file://{folder}"
    assert remote(workspace)[1]["written"] == 3
    other = elsewhere(workspace, "other")
    table = f'[tool.enginewright.remote]\ncache = "file://{folder}"\nmode = "read"\ndownload = "minimal"\n'
    other.write({"pyproject.toml": PYPROJECT + table})
    assert remote(other)[0].cached == ALL
    assert there(other) == set()
    other.environment["ENGINEWRIGHT_REMOTE_DOWNLOAD"] = "all"
    remote(other)
    assert len(there(other)) == 4
    other = elsewhere(workspace, "third")
    line = other.refuse("build", "--remote-mode=reed")
    assert line == "--remote-mode: expected one of read, write, read-write, got 'reed'"
    assert "expected grpc://HOST:PORT" in other.refuse("build", "--remote-cache=cache:8980")


def test_a_server_that_is_not_there(workspace: Workspace) -> None:
    option = f"--remote-cache=grpc://127.0.0.1:{cacheservers.free_port()}"
    found, _ = remote(workspace, option)
    assert found.built == ALL
    assert found.text.count("WARNING") == 1
    assert "cannot be reached" in found.text
    other = elsewhere(workspace, "other")
    assert "--remote-required" in other.refuse("build", option, "--remote-required")
    assert not other.files()


WAIT = """
from enginewright import python_action

python_action(name="first", function="make.py:wait", inputs={"text": "text.txt"}, outputs={"out": "first.txt"}, params=%r)
python_action(name="last", function="make.py:copy", inputs={"text": ":first"}, outputs={"out": "last.txt"})
"""


@pytest.mark.parametrize("required", [False, True])
def test_a_server_that_goes_away_and_comes_back(workspace: Workspace, tmp_path: Path, required: bool) -> None:
    (tmp_path / "casd").mkdir()
    server = cacheservers.casd(tmp_path / "casd")
    here = Pipe(tmp_path / "here")
    workspace.write({"models/x/BUILD.py": WAIT % {"here": str(here.path), "until": str(tmp_path / "go")}})
    with cacheservers.running(server):
        arguments = ["build", f"--remote-cache=grpc://{server.address}", *["--remote-required"] * required]
        build = workspace.start(*arguments)
        here.wait()
        server.stop()
        (tmp_path / "go").touch()
        out, err = build.communicate(timeout=60)
        assert "Traceback" not in out + err
        assert "cannot be reached" in err + out
        if required:
            assert build.returncode in (1, 2)
            assert "ERROR" in err or "FAILED" in out
            return
        assert build.returncode == 0
        assert "built 2" in out
        # What could not be written then is not written later, but nothing is wrong.
        server.start()
        assert workspace.doit(*arguments).stdout.count("up to date 2") == 1
        other = elsewhere(workspace, "other")
        here.lines()
        found, traffic = remote(other, f"--remote-cache=grpc://{server.address}")
        assert (found.built, traffic["written"]) == ({FIRST, LAST}, 2)


@pytest.fixture
def casd(tmp_path: Path) -> Iterator[cacheservers.Server]:
    (tmp_path / "casd").mkdir()
    with cacheservers.running(cacheservers.casd(tmp_path / "casd")) as server:
        yield server


IMAGE = """
from enginewright import files_layer, image

files_layer(name="files", files={"/text.txt": "text.txt"})
image(name="image", layers=[":files"])
"""


def test_an_output_with_folders_in_it_is_found(workspace: Workspace, casd: cacheservers.Server) -> None:
    # buildbox-casd gives a result only while it has every Directory in the trees of it.
    workspace.write({"models/x/BUILD.py": IMAGE})
    option = f"--remote-cache=grpc://{casd.address}"
    assert len(workspace.build(option).built) == 2
    other = elsewhere(workspace, "other")
    assert len(other.build(option).cached) == 2
    assert other.files() == workspace.files()


def test_a_slow_server_is_not_waited_for(workspace: Workspace, casd: cacheservers.Server) -> None:
    faults = Faults(delay=3)
    with proxy(casd.address, faults) as address:
        found, _ = remote(workspace, f"--remote-cache=grpc://{address}", "--remote-cache-timeout=0.3")
    assert (found.built, found.code) == (ALL, 0)
    assert "did not answer in time" in found.text
    assert sum(faults.calls.values()) <= 3


MANY = """
from enginewright import python_action

for i in range(40):
    python_action(name=f"n{i}", function="make.py:copy", inputs={"text": "text.txt"}, outputs={"out": "out.txt"}, params={"times": i + 1})
"""


def test_a_call_in_twenty_fails_and_nothing_is_lost(workspace: Workspace, casd: cacheservers.Server) -> None:
    workspace.write({"models/x/BUILD.py": MANY})
    faults = Faults(fails=lambda method, number: method != "GetCapabilities" and number % 20 == 7)
    with proxy(casd.address, faults) as address:
        option = f"--remote-cache=grpc://{address}"
        made, traffic = remote(workspace, option)
        assert (len(made.built), traffic["written"], traffic["failures"]) == (40, 40, 0)
        found, traffic = remote(elsewhere(workspace, "other"), option)
        assert (len(found.cached), traffic["hits"], traffic["failures"]) == (40, 40, 0)
    assert "WARNING" not in made.text + found.text


def test_a_stream_that_ends_early_or_lies(workspace: Workspace, casd: cacheservers.Server) -> None:
    remote(workspace, f"--remote-cache=grpc://{casd.address}")

    def mangle(method: str, data: bytes) -> bytes:
        if method != "Read":
            return data
        part = bytestream.ReadResponse.FromString(data)
        return bytes(bytestream.ReadResponse(data=part.data[:-1]).SerializeToString())

    with proxy(casd.address, Faults(mangle=mangle)) as address:
        found, traffic = remote(elsewhere(workspace, "other"), f"--remote-cache=grpc://{address}")
    assert found.built >= {FIRST, LAST}
    assert traffic["refused"] > 0
    assert found.text.count("fewer bytes") == 1


def test_tls_with_a_token_and_a_certificate_of_the_client(workspace: Workspace, casd: cacheservers.Server, tmp_path: Path) -> None:
    made = certificates.make(tmp_path)
    credentials = grpc.ssl_server_credentials([(made.key.read_bytes(), made.certificate.read_bytes())], made.ca.read_bytes(), True)
    (tmp_path / "token").write_text("s3cret-token\n")
    files = [f"--remote-tls-ca={made.ca}", f"--remote-tls-certificate={made.certificate}", f"--remote-tls-key={made.key}"]
    with proxy(casd.address, Faults(token="s3cret-token"), credentials) as address:
        option = f"--remote-cache=grpcs://{address}"
        found, traffic = remote(workspace, option, *files, f"--remote-token-file={tmp_path / 'token'}")
        assert (traffic["written"], found.text.count("WARNING")) == (3, 0)
        other = elsewhere(workspace, "other")
        other.environment["ENGINEWRIGHT_REMOTE_TOKEN"] = "wr0ng-token"
        found, _ = remote(other, option, *files)
        assert "UNAUTHENTICATED" in found.text and "ENGINEWRIGHT_REMOTE_TOKEN" in found.text
        assert found.built == ALL
        third = elsewhere(workspace, "third")
        found, _ = remote(third, option, files[0])
        assert found.built == ALL and "cannot be reached" in found.text
    for each in (workspace, other):
        kept = [path for folder in (each.root, each.store) for path in folder.rglob("*") if path.is_file()]
        assert not any(b"s3cret-token" in path.read_bytes() or b"wr0ng-token" in path.read_bytes() for path in kept)


def test_ctrl_c_while_results_are_written(workspace: Workspace, casd: cacheservers.Server) -> None:
    going_on = threading.Event()
    faults = Faults(fails=lambda method, number: method == "UpdateActionResult" and not going_on.wait(60))
    with proxy(casd.address, faults) as address:
        build = workspace.start("build", f"--remote-cache=grpc://{address}", "--remote-cache-timeout=60")
        deadline = time.monotonic() + 60
        while faults.calls["UpdateActionResult"] < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        build.send_signal(signal.SIGINT)
        out, err = build.communicate(timeout=50)
        going_on.set()
    assert "Traceback" not in out + err
    assert (build.returncode, "built 3" in out) == (130, True)
    assert "WARNING: not written to the remote cache: models/x:first and 2 more: the build ended" in err
    assert workspace.build().up_to_date == ALL


def test_what_is_not_installed_is_named(workspace: Workspace, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    for name in ("grpc", "obstore", "urllib3"):
        (hidden / name).mkdir(parents=True)
        (hidden / name / "__init__.py").write_text(f"raise ModuleNotFoundError('no', name={name!r})\n")
    workspace.environment["PYTHONPATH"] = str(hidden)
    for url in ("grpc://127.0.0.1:1", "http://127.0.0.1:1", "file:///nowhere"):
        assert "pip install 'enginewright[remote]'" in workspace.refuse("build", f"--remote-cache={url}")


CHAIN = """
from enginewright import python_action

python_action(name="onnx", function="make.py:write", inputs={"text": "weights.txt"}, outputs={"out": "onnx.txt"}, params={"times": 2_000})
python_action(name="half", function="make.py:write", inputs={"model": ":onnx"}, outputs={"out": "half.txt"})
python_action(name="engine", function="make.py:write", inputs={"model": ":half"}, outputs={"out": "engine.txt"})
"""


def test_a_fresh_clone_fetches_nothing_of_the_models_that_did_not_change(tmp_path: Path, casd: cacheservers.Server) -> None:
    """What continuous integration does for each commit: one of 100 models has new weights."""
    option = f"--remote-cache=grpc://{casd.address}"
    made = Workspace(tmp_path / "root", tmp_path / "store", tmp_path / "trace")
    made.write({"dodo.py": "", "pyproject.toml": PYPROJECT})
    for i in range(100):
        folder = f"models/m{i}"
        made.write({f"{folder}/BUILD.py": CHAIN, f"{folder}/make.py": made.make, f"{folder}/weights.txt": f"weights {i}\n"})
    done = json.loads(made.doit("build", "--json", option).stdout)
    assert done["remote"]["written"] == 300
    clone = elsewhere(made, "clone")
    clone.write({"models/m7/weights.txt": "# the same\nweights 7\n"})
    found = json.loads(clone.doit("build", "--json", option, "--remote-download=minimal").stdout)
    ran = [each["label"] for each in found["actions"] if each["status"] == "built"]
    # The new weights give the same model, so what depends on it is found: nothing but records came down.
    assert ran == ["models/m7:onnx"]
    assert (found["cached"], found["remote"]["hits"]) == (299, 299)
    assert found["remote"]["blobs_down"] <= 299
    assert found["remote"]["bytes_down"] < 299 * 2000
    clone.write({"models/m7/BUILD.py": CHAIN.replace('"half.txt"}', '"half.txt"}, params={"times": 2}')})
    again = elsewhere(clone, "again")
    found = json.loads(again.doit("build", "--json", option, "--remote-download=minimal").stdout)
    ran = [each["label"] for each in found["actions"] if each["status"] == "built"]
    assert ran == ["models/m7:half", "models/m7:engine"]
    # The one input that an action needed came, and no other output of any model.
    assert found["remote"]["bytes_down"] < 299 * 2000 + 2 * 2_000 * len("weights 7\n")
    assert [path.name for path in (again.root / "build/models").iterdir()] == ["m7"]
    assert {path.name for path in (again.root / "build/models/m7").rglob("*.txt")} == {"onnx.txt", "half.txt", "engine.txt"}


def test_two_builds_share_a_cache_at_once(workspace: Workspace, casd: cacheservers.Server) -> None:
    workspace.write({"models/x/BUILD.py": MANY})
    others = [workspace, elsewhere(workspace, "other"), elsewhere(workspace, "third")]
    builds = [each.start("build", f"--remote-cache=grpc://{casd.address}") for each in others]
    for build in builds:
        out, err = build.communicate(timeout=120)
        assert (build.returncode, "WARNING" in err) == (0, False), out + err
    assert others[0].files() == others[1].files() == others[2].files()


def test_a_killed_build_leaves_nothing_that_the_next_one_minds(workspace: Workspace, casd: cacheservers.Server) -> None:
    option = f"--remote-cache=grpc://{casd.address}"
    workspace.write({"models/x/BUILD.py": MANY})
    build = workspace.start("build", option, stdin=subprocess.DEVNULL)
    workspace.trace.some()
    build.kill()
    build.communicate()
    found = workspace.doit("build", option)
    assert "failed 0" in found.stdout
    assert remote(elsewhere(workspace, "other"), option)[0].failed == set()
