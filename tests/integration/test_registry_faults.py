"""Pushes to a real registry, and pulls from it, through a proxy that breaks connections and gives other answers."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from enginewright.oci.layout import Descriptor, blob_path, canonical_json, read_image
from enginewright.oci.media import LAYER, MANIFEST
from enginewright.oci.pull import pull
from enginewright.oci.push import push
from enginewright.oci.registry import backoff, upload
from enginewright.oci.registry.client import Client, Repository, digest_of
from enginewright.oci.registry.errors import RegistryError
from enginewright.oci.registry.reference import Reference
from registries import Registry, running
from scripted import Fault, Says, Server, proxied
from throwaway import Workspace

MIB = 1 << 20


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(backoff, "_FIRST", 0.05)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


def blob(size: int) -> tuple[Descriptor, bytes]:
    data = os.urandom(size)
    return Descriptor(LAYER, digest_of(data), size), data


def put(host: str, size: int, client: Client | None = None) -> tuple[Repository, Descriptor, int, list[int]]:
    """Push new bytes; the repository, the blob, how many bytes were sent, and the steps in which they were."""
    described, data = blob(size)
    repository = (client or Client()).repository(Reference.parse(f"{host}/app"), push=True)
    steps: list[int] = []
    sent = repository.put_blob(described, lambda offset: io.BytesIO(data[offset:]), sent=steps.append)
    with repository.open_blob(described) as stream:
        assert stream.read() == data
    return repository, described, sent, steps


def uploads(proxy: Server) -> list[str]:
    return [each.method for each in proxy.asked if "/uploads/" in each.path]


def test_an_upload_that_broke_off_begins_anew(registry: Registry) -> None:
    """This registry, distribution 2.8, gives up a session of which a request broke off; others go on (tests/oci)."""
    with proxied(registry.host, [Fault("PUT", "uploads", sent=5 * MIB), Fault("PUT", "uploads", sent=2 * MIB)]) as proxy:
        _, _, sent, steps = put(proxy.host, 12 * MIB)
        assert steps[-1] == 12 * MIB and sent >= 12 * MIB and max(steps) == 12 * MIB


def test_a_registry_that_dies_in_the_middle(tmp_path: Path) -> None:
    with running(tmp_path / "registry") as registry:
        described, data = blob(24 * MIB)
        died = []

        class Source(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                if self.tell() >= 8 * MIB and not died:
                    died.append(True)
                    registry.stop()
                    registry.start()
                return super().read(size)

        def source(offset: int) -> io.BytesIO:
            stream = Source(data)
            stream.seek(offset)
            return stream

        repository = Client().repository(Reference.parse(f"{registry.host}/app"), push=True)
        repository.put_blob(described, source)
        assert died and repository.read_blob(described) == data


def test_an_upload_whose_last_answer_is_lost(registry: Registry) -> None:
    with proxied(registry.host, [Fault("PUT", "uploads", received=-1)]) as proxy:
        put(proxy.host, MIB)
        assert uploads(proxy).count("PUT") <= 2


def test_a_session_that_the_registry_lost(registry: Registry) -> None:
    with proxied(registry.host, [Fault("PUT", "uploads", says=Says(404))]) as proxy:
        put(proxy.host, MIB)
        assert uploads(proxy) == ["POST", "PUT", "GET", "POST", "PUT"] or uploads(proxy)[:2] == ["POST", "PUT"]


@pytest.mark.parametrize("fault", [Fault("PUT", "uploads", says=Says(413)), Fault("PUT", "uploads", sent=0)])
def test_a_proxy_to_which_blobs_are_too_large(registry: Registry, monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    monkeypatch.setattr(upload, "_PART", 4 * MIB)
    with proxied(registry.host, [Fault(**vars(fault))]) as proxy:
        put(proxy.host, 9 * MIB)
        assert uploads(proxy)[-3:] == ["PATCH", "PATCH", "PUT"]


def test_a_registry_that_takes_no_parts(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a connection broke for another reason than the size of the blob, it is sent whole again."""
    monkeypatch.setattr(upload, "_PART", 4 * MIB)
    with proxied(registry.host, [Fault("PUT", "uploads", sent=0), Fault("PATCH", "uploads", says=Says(405), times=9)]) as proxy:
        put(proxy.host, 9 * MIB)
        assert uploads(proxy)[-3:] == ["PATCH", "POST", "PUT"]
    faults = [Fault("PUT", "uploads", says=Says(413), times=9), Fault("PATCH", "uploads", says=Says(405), times=9)]
    with proxied(registry.host, faults) as proxy, pytest.raises(RegistryError, match="with 413: that, or a proxy before it"):
        put(proxy.host, 9 * MIB)


def test_an_empty_blob_and_one_byte(registry: Registry) -> None:
    put(registry.host, 0)
    put(registry.host, 1)


def test_a_registry_that_is_busy(registry: Registry) -> None:
    faults = [Fault("POST", "uploads", says=Says(429, headers={"Retry-After": "0"})), Fault("PUT", "uploads", says=Says(503))]
    with proxied(registry.host, faults) as proxy:
        put(proxy.host, MIB)


@pytest.mark.parametrize(("status", "times"), [(401, 9), (403, 9), (500, 9), (429, 9), (400, 1)])
def test_an_upload_that_is_refused(registry: Registry, status: int, times: int) -> None:
    with (
        proxied(registry.host, [Fault("PUT", "uploads", says=Says(status), times=times)]) as proxy,
        pytest.raises(RegistryError, match=f" with {status}|ran out"),
    ):
        put(proxy.host, 1000)


def test_bytes_that_were_changed_after_they_were_digested(registry: Registry) -> None:
    described, data = blob(MIB)
    repository = Client().repository(Reference.parse(f"{registry.host}/app"), push=True)
    with pytest.raises(RegistryError, match=f"the bytes to be pushed as {described.digest} are others"):
        repository.put_blob(described, lambda offset: io.BytesIO(data[offset:-1] + b"!"))
    with pytest.raises(RegistryError, match="ended 1 bytes too early"):
        repository.put_blob(described, lambda offset: io.BytesIO(data[offset:-1]))
    assert not repository.has_blob(described.digest)


def test_referrers(registry: Registry) -> None:
    """The registry has no referrers API: the fallback tag stands in for it, and keeps what is in it."""
    repository = Client().repository(Reference.parse(f"{registry.host}/signed"), push=True)
    config = repository.put_bytes("application/vnd.oci.empty.v1+json", b"{}")
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config.to_json(), "layers": []}
    subject = repository.put_manifest("1", MANIFEST, canonical_json(manifest))
    for number in ("1", "2", "2"):
        signature = canonical_json(
            {**manifest, "subject": subject.to_json(), "artifactType": f"test/{number}", "annotations": {"n": number}}
        )
        repository.put_manifest(digest_of(signature), MANIFEST, signature)
    found = repository.referrers(subject.digest)
    assert [(each["artifactType"], each["annotations"]) for each in found] == [("test/1", {"n": "1"}), ("test/2", {"n": "2"})]
    assert [each["artifactType"] for each in repository.referrers(subject.digest, "test/2")] == ["test/2"]
    assert repository.referrers("sha256:" + "0" * 64) == []
    assert repository.tags() == ["1", subject.digest.replace(":", "-")]
    assert Client().repository(Reference.parse(f"{registry.host}/none")).tags() == []


@pytest.mark.parametrize(
    ("then", "problem"),
    [({"says": Says(500)}, "with 500"), ({"received": 0}, "the connection to .* broke off [0-9]+ bytes too early")],
    ids=["refused", "broken"],
)
def test_a_pull_goes_on_where_an_earlier_one_was_interrupted(
    registry: Registry, layout: Path, tmp_path: Path, then: dict[str, Any], problem: str
) -> None:
    to = Reference.parse(f"{registry.host}/image:1")
    digest = push(Client(), layout, to).digest
    (layer,) = read_image(layout).layers
    faults = [Fault("GET", layer.digest, received=3 * MIB), Fault("GET", layer.digest, times=9, **then)]
    with proxied(registry.host, faults) as proxy:
        source = Reference.parse(f"{proxy.host}/image:1")
        with pytest.raises(RegistryError, match=problem):
            pull(Client(), source, tmp_path / "pulled")
        assert not (tmp_path / "pulled/index.json").exists()
        faults[1].times = 0
        pulled = pull(Client(), source, tmp_path / "pulled")
        assert pulled.reference.digest == digest and pulled.received < 6 * MIB
        assert proxy.asked[-1].headers["Range"] == f"bytes={3 * MIB}-"
    image = read_image(tmp_path / "pulled")
    assert image.descriptor.digest == digest
    assert hashlib.sha256(blob_path(tmp_path / "pulled", layer.digest).read_bytes()).hexdigest() == layer.digest[7:]

    # What is there is checked, and made good.
    path = blob_path(tmp_path / "pulled", layer.digest)
    path.write_bytes(b"damaged")
    again = pull(Client(), to, tmp_path / "pulled")
    assert sorted(again.outcomes.values()) == ["fetched", "there"] and path.stat().st_size == layer.size
    assert set(pull(Client(), to, tmp_path / "pulled").outcomes.values()) == {"there"}


@pytest.mark.parametrize("left", ["whole", "damaged", "too long", "other bytes"])
def test_what_an_earlier_pull_left(registry: Registry, layout: Path, tmp_path: Path, left: str) -> None:
    to = Reference.parse(f"{registry.host}/image:left")
    push(Client(), layout, to)
    (layer,) = read_image(layout).layers
    data = blob_path(layout, layer.digest).read_bytes()
    part = blob_path(tmp_path / "pulled", layer.digest).with_name(f"{layer.digest[7:]}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(
        {"whole": data, "damaged": bytes([data[0] ^ 1]) + data[1 : 3 * MIB], "too long": data + b"!", "other bytes": data[:-1] + b"!"}[left]
    )
    said: list[str] = []
    pulled = pull(Client(notice=said.append), to, tmp_path / "pulled")
    assert blob_path(tmp_path / "pulled", layer.digest).read_bytes() == data and not part.exists()
    assert (pulled.received < 1000) == (left == "whole")
    assert said == ([f"what an earlier pull left of {layer.digest} is damaged: it is fetched anew"] if left == "damaged" else [])


def test_two_pulls_into_one_folder_take_turns(registry: Registry, layout: Path, tmp_path: Path) -> None:
    to = Reference.parse(f"{registry.host}/image:3")
    push(Client(), layout, to)
    (tmp_path / "pulled/blobs/sha256").mkdir(parents=True)
    said = []
    held = os.open(tmp_path / "pulled/blobs/sha256", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)

    def notice(line: str) -> None:
        said.append(line)
        os.close(held)

    pull(Client(notice=notice), to, tmp_path / "pulled")
    assert said == [f"waiting for another pull into {tmp_path / 'pulled'} to end"]


def test_a_pull_of_other_bytes(registry: Registry, layout: Path, tmp_path: Path) -> None:
    to = Reference.parse(f"{registry.host}/image:2")
    push(Client(), layout, to)
    (layer,) = read_image(layout).layers
    with (
        proxied(registry.host, [Fault("GET", layer.digest, flip=True)]) as proxy,
        pytest.raises(RegistryError, match=f"the bytes given for {layer.digest} are others"),
    ):
        pull(Client(), Reference.parse(f"{proxy.host}/image:2"), tmp_path / "pulled")
    assert not list((tmp_path / "pulled/blobs/sha256").glob(f"{layer.digest[7:]}*"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/precious").touch()
    with pytest.raises(Exception, match="has other things in it than an image layout"):
        pull(Client(), to, tmp_path / "other")


def test_ctrl_c(empty: Workspace, registry: Registry) -> None:
    """It ends at once, and the tag that was there before is still the old image."""
    empty.write({"images/x/BUILD.py": 'from enginewright import files_layer, image\nfiles_layer(name="l", files={"/f": "f"})\n'
                 'image(name="i", layers=[":l"])\n', "images/x/f": "old"})  # fmt: skip
    empty.doit("push", "images/x:i", "--to", f"{registry.host}/ctrl-c:1")
    repository = Client().repository(Reference.parse(f"{registry.host}/ctrl-c"))
    before = repository.head_manifest("1")
    (empty.root / "images/x/f").write_bytes(os.urandom(4 * MIB))
    empty.doit("build")
    with proxied(registry.host, [Fault("POST", "uploads", says=Says(429, headers={"Retry-After": "100"}))]) as proxy:
        running = empty.start("push", "images/x:i", "--to", f"{proxy.host}/ctrl-c:1")
        assert running.stderr is not None
        while "trying again in 100.0 s" not in (line := running.stderr.readline()):
            assert line
        began = time.monotonic()
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130 and time.monotonic() - began < 20
        assert running.stderr.read().splitlines()[-1:] == ["interrupted"]
    assert repository.head_manifest("1") == before
