from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from enginewright.bundle.destination import open_destination
from enginewright.bundle.folder import Folder
from enginewright.bundle.sums import Bundle, seal
from enginewright.errors import WorkspaceError


def quiet(name: str, done: int, size: int) -> None:
    pass


def bundle(folder: Path, text: str) -> Bundle:
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/engine").write_text(text)
    (folder / "manifest.json").write_text("{}")
    return seal(folder)


def test_published_and_pointed_to(tmp_path: Path) -> None:
    first, second = bundle(tmp_path / "one", "one"), bundle(tmp_path / "two", "two")
    srv = Folder(tmp_path / "srv/models")
    told = srv.publish(tmp_path / "one", first, quiet)
    assert (told.place, told.sent, told.bytes_sent, told.there) == (str(tmp_path / "srv/models" / first.name), 2, 5, 0)
    assert not (tmp_path / "srv/models/latest").is_symlink()
    srv.point(first)
    srv.publish(tmp_path / "two", second, quiet)
    assert (tmp_path / "srv/models/latest/sub/engine").read_text() == "one"
    srv.point(second)
    assert (tmp_path / "srv/models/latest/sub/engine").read_text() == "two"
    assert sorted(os.listdir(tmp_path / "srv/models")) == sorted([".partial", first.name, "latest", second.name])
    assert os.listdir(tmp_path / "srv/models/.partial") == []


def test_again_sends_nothing(tmp_path: Path) -> None:
    made = bundle(tmp_path / "one", "one")
    Folder(tmp_path / "srv").publish(tmp_path / "one", made, quiet)
    inode = (tmp_path / "srv" / made.name).stat().st_ino
    told = Folder(tmp_path / "srv").publish(tmp_path / "one", made, quiet)
    assert (told.sent, told.there, (tmp_path / "srv" / made.name).stat().st_ino) == (0, 2, inode)


def test_a_damaged_one_is_replaced(tmp_path: Path) -> None:
    made = bundle(tmp_path / "one", "one")
    Folder(tmp_path / "srv").publish(tmp_path / "one", made, quiet)
    engine = tmp_path / "srv" / made.name / "sub/engine"
    engine.write_text("eno")
    assert Folder(tmp_path / "srv").publish(tmp_path / "one", made, quiet).sent == 2
    assert engine.read_text() == "one"


def test_other_bytes_than_were_sealed_are_not_published(tmp_path: Path) -> None:
    made = bundle(tmp_path / "one", "one")
    (tmp_path / "one/sub/engine").write_text("eno")
    with pytest.raises(WorkspaceError, match="one/sub/engine has other bytes than SHA256SUMS beside it says"):
        Folder(tmp_path / "srv").publish(tmp_path / "one", made, quiet)
    assert os.listdir(tmp_path / "srv") == [".partial"] and os.listdir(tmp_path / "srv/.partial") == []


def test_what_a_killed_publisher_left_goes(tmp_path: Path) -> None:
    made = bundle(tmp_path / "one", "one")
    (tmp_path / "srv/.partial/enginewright-dead/half").mkdir(parents=True)
    Folder(tmp_path / "srv").publish(tmp_path / "one", made, quiet)
    assert os.listdir(tmp_path / "srv/.partial") == []


def test_many_at_once(tmp_path: Path) -> None:
    made = {name: bundle(tmp_path / name, name) for name in ("one", "two")}
    problems: list[Exception] = []

    def publish(name: str) -> None:
        try:
            srv = Folder(tmp_path / "srv")
            for _ in range(10):
                srv.publish(tmp_path / name, made[name], quiet)
                srv.point(made[name])
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=publish, args=(name,)) for name in ("one", "two", "one", "two")]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):  # a reader, all the while
        latest = tmp_path / "srv/latest/sub/engine"
        if os.path.lexists(tmp_path / "srv/latest"):
            assert latest.read_text() in made
    assert problems == []


def test_latest_is_no_link(tmp_path: Path) -> None:
    made = bundle(tmp_path / "one", "one")
    Folder(tmp_path / "srv").publish(tmp_path / "one", made, quiet)
    (tmp_path / "srv/latest").mkdir()
    with pytest.raises(WorkspaceError, match="latest is no symbolic link"):
        Folder(tmp_path / "srv").point(made)


@pytest.mark.parametrize(
    "to",
    ["/srv/models", "file://host/srv", "file:srv", "s3:///models", "s3://models?x=1", "https://x/y", "s3://[x/y", "s3://models/../x", ""],
)
def test_what_is_no_place(to: str) -> None:
    with pytest.raises(WorkspaceError, match="is no place to publish to: write file:///FOLDER"):
        open_destination(to, {})


def test_keys_do_not_go_out_in_the_clear() -> None:
    with pytest.raises(WorkspaceError, match=r"http://storage.example: keys and models would go there in the clear: use https"):
        open_destination("s3://models/x", {"AWS_ENDPOINT_URL": "http://storage.example"})
