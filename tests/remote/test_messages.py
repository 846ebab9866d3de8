from __future__ import annotations

import hashlib
import posixpath
import random

import pytest
from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from hypothesis import given
from hypothesis import strategies as st

from enginewright.remote.digest import Digest
from enginewright.remote.messages import (
    File,
    RemoteAction,
    from_message,
    merkle_tree,
    read_result,
    remote_action,
    tree_message,
    write_result,
)

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))
FILES = st.builds(File, st.builds(Digest.of, st.binary(max_size=3)), st.booleans())


@st.composite
def trees(draw: st.DrawFn) -> dict[str, File]:
    """Files by path, none of which is also a folder."""
    paths = draw(st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), unique=True, max_size=8))
    folders = {parent for path in paths for parent in _parents(path)}
    return {path: draw(FILES) for path in paths if path not in folders}


def _parents(path: str) -> list[str]:
    parents = []
    while path := posixpath.dirname(path):
        parents.append(path)
    return parents


def flatten(root: Digest, messages: dict[Digest, bytes], prefix: str = "") -> dict[str, File]:
    """The files of a tree of Directory messages, as a worker lays them out."""
    directory = reapi.Directory.FromString(messages[root])
    files = {prefix + each.name: File(from_message(each.digest), each.is_executable) for each in directory.files}
    for each in directory.directories:
        files |= flatten(from_message(each.digest), messages, f"{prefix}{each.name}/")
    return files


@given(trees())
def test_a_tree_of_directories_holds_the_files_it_was_made_of(files: dict[str, File]) -> None:
    root, messages = merkle_tree(files)
    assert flatten(root, messages) == files
    assert all(Digest.of(data) == digest for digest, data in messages.items())


@given(trees(), st.randoms())
def test_the_order_in_which_files_are_given_means_nothing(files: dict[str, File], chance: random.Random) -> None:
    shuffled = list(files.items())
    chance.shuffle(shuffled)
    assert merkle_tree(dict(shuffled))[0] == merkle_tree(files)[0]


@given(trees())
def test_entries_are_in_the_order_that_the_api_asks_for(files: dict[str, File]) -> None:
    for data in merkle_tree(files)[1].values():
        directory = reapi.Directory.FromString(data)
        for names in ([each.name for each in directory.files], [each.name for each in directory.directories]):
            assert names == sorted(set(names), key=str.encode)


def test_an_empty_tree_is_the_empty_message() -> None:
    assert merkle_tree({})[0] == Digest(hashlib.sha256(b"").hexdigest(), 0)


def test_a_folder_with_nothing_in_it_is_there() -> None:
    root, messages = merkle_tree({"a/f": File(Digest.of(b""))}, ["a/b/c", "d"])
    top = reapi.Directory.FromString(messages[root])
    assert [each.name for each in top.directories] == ["a", "d"]
    a = reapi.Directory.FromString(messages[from_message(top.directories[0].digest)])
    assert [each.name for each in a.directories] == ["b"]
    b = reapi.Directory.FromString(messages[from_message(a.directories[0].digest)])
    assert [each.name for each in b.directories] == ["c"]


def test_a_name_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(ValueError, match="is not UTF-8"):
        merkle_tree({"\udcff": File(Digest.of(b""))})


@given(trees())
def test_a_tree_message_holds_every_folder_once(files: dict[str, File]) -> None:
    tree = reapi.Tree.FromString(tree_message(files))
    messages = {Digest.of(each): each for each in (child.SerializeToString(deterministic=True) for child in tree.children)}
    assert len(messages) == len(tree.children)
    root = tree.root.SerializeToString(deterministic=True)
    assert flatten(Digest.of(root), {**messages, Digest.of(root): root}) == files


def make(**changes: object) -> RemoteAction:
    arguments: dict[str, object] = {
        "contents": {".enginewright/action.json": b"{}"}, "inputs": {"in/a": File(Digest.of(b"a"))}, "input_folders": [],
        "outputs": ["out/b", "out/a"], "output_folders": ["out/tree"], "properties": {"gpu-arch": "sm_90", "OSFamily": "Linux"},
    }  # fmt: skip
    return remote_action(**{**arguments, **changes})  # type: ignore[arg-type]


def test_an_action_refers_to_messages_that_go_with_it() -> None:
    made = make(timeout=1.5)
    action = reapi.Action.FromString(made.messages[made.digest])
    command = reapi.Command.FromString(made.messages[from_message(action.command_digest)])
    assert list(command.output_paths) == ["out/a", "out/b", "out/tree"]
    assert [(each.name, each.value) for each in action.platform.properties] == [("OSFamily", "Linux"), ("gpu-arch", "sm_90")]
    assert action.platform == command.platform
    assert (action.timeout.seconds, action.timeout.nanos) == (1, 500_000_000)
    assert flatten(from_message(action.input_root_digest), dict(made.messages)) == {
        ".enginewright/action.json": File(Digest.of(b"{}")),
        "in/a": File(Digest.of(b"a")),
    }
    assert made.messages[Digest.of(b"{}")] == b"{}"


@pytest.mark.parametrize(
    "changes",
    [
        {"contents": {".enginewright/action.json": b"{ }"}},
        {"inputs": {"in/a": File(Digest.of(b"b"))}},
        {"inputs": {"in/b": File(Digest.of(b"a"))}},
        {"inputs": {"in/a": File(Digest.of(b"a"), executable=True)}},
        {"input_folders": ["in/b"]},
        {"outputs": ["out/b"]},
        {"output_folders": []},
        {"properties": {"gpu-arch": "sm_80", "OSFamily": "Linux"}},
        {"timeout": 1.0},
    ],
)
def test_all_that_an_action_is_made_of_changes_its_digest(changes: dict[str, object]) -> None:
    assert make(**changes).digest != make().digest


def test_the_digest_of_an_action_stays_what_it_is() -> None:
    """Written down, so that a change which makes every shared cache useless does not happen unnoticed."""
    assert str(make().digest) == "d74aa1f3b7b412b5c182101b9f19bd80e19085e7ed05c42c08480387ff769815/182"


def test_a_result_is_read_as_it_was_written() -> None:
    files = {"b": File(Digest.of(b"b"), executable=True), "a": File(Digest.of(b"a"))}
    found = read_result(write_result(files, {"t": Digest.of(b"tree")}, {"a": b"a"}))
    assert (found.files, found.folders, found.contents, found.exit_code) == (files, {"t": Digest.of(b"tree")}, {"a": b"a"}, 0)


@pytest.mark.parametrize("data", [b"\xff", b"no message", write_result({"a": File(Digest.of(b"a"))}, {}, {})[:-3]])
def test_bytes_that_are_no_result_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no ActionResult"):
        read_result(data)
