"""The messages of the Remote Execution API that describe an action, its inputs and its result.

Source: build.bazel.remote.execution.v2, https://github.com/bazelbuild/remote-apis. A message is serialised in the one form that the
API calls canonical: entries sorted by name, fields in the order of their numbers, no unknown fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from buildgrid.common.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as reapi
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message

from enginewright.remote.digest import Digest

COMMAND = ("python3", "-m", "enginewright.execute.run_action")
"""What a worker runs in the input root."""


class File(NamedTuple):
    """A file's bytes, and whether it is executable."""

    digest: Digest
    executable: bool = False


@dataclass(frozen=True)
class RemoteAction:
    """An action as the API has it: the digest of its Action message, which names its result, and the messages it consists of.

    ``messages`` are the Action, the Command and the Directories by digest, and what was given as ``contents``; a server that
    is to run it needs them and the input files.
    """

    digest: Digest
    messages: Mapping[Digest, bytes]


@dataclass(frozen=True)
class RemoteResult:
    """What an ActionResult says: the output files and, by their Tree messages' digests, the output folders, by path.

    ``contents`` has the bytes of the files that the server sent along, unchecked.
    """

    files: Mapping[str, File]
    folders: Mapping[str, Digest] = field(default_factory=dict)
    contents: Mapping[str, bytes] = field(default_factory=dict)
    exit_code: int = 0
    worker: str = ""


def remote_action(
    contents: Mapping[str, bytes],
    inputs: Mapping[str, File],
    input_folders: Iterable[str],
    outputs: Iterable[str],
    output_folders: Iterable[str],
    properties: Mapping[str, str],
    timeout: float | None = None,
    arguments: Iterable[str] = (),
) -> RemoteAction:
    """An action that runs ``COMMAND``, with more ``arguments`` if there are any, in a folder with ``inputs`` and small files of these
    ``contents``, all by path below it.

    ``input_folders`` are there even when nothing lies in them. ``properties`` are the platform properties of workers that can run it,
    ``timeout`` is in seconds. Raises ValueError for a path that is not UTF-8.
    """
    small = {path: Digest.of(data) for path, data in contents.items()}
    root, messages = merkle_tree({**inputs, **{path: File(digest) for path, digest in small.items()}}, input_folders)
    messages |= {small[path]: data for path, data in contents.items()}
    platform = reapi.Platform(properties=[reapi.Platform.Property(name=name, value=properties[name]) for name in sorted(properties)])
    command = _serialise(
        reapi.Command(
            arguments=[*COMMAND, *arguments],
            # Both ways of naming outputs: servers from before version 2.1 of the API know the first alone.
            output_files=sorted(outputs),
            output_directories=sorted(output_folders),
            output_paths=sorted([*outputs, *output_folders]),
            platform=platform,
        )
    )
    command_digest = Digest.of(command)
    limit = None if timeout is None else Duration(seconds=int(timeout), nanos=round(timeout % 1 * 1e9))
    action = _serialise(
        reapi.Action(command_digest=to_message(command_digest), input_root_digest=to_message(root), timeout=limit, platform=platform)
    )
    digest = Digest.of(action)
    return RemoteAction(digest, {**messages, command_digest: command, digest: action})


def merkle_tree(files: Mapping[str, File], folders: Iterable[str] = ()) -> tuple[Digest, dict[Digest, bytes]]:
    """The digest of the root Directory of a tree of files, given by ``/``-separated path, and all its Directories by digest."""
    directory, children = _directories(files, folders)
    messages = {Digest.of(data): data for data in map(_serialise, [directory, *children])}
    return next(iter(messages)), messages


def tree_message(files: Mapping[str, File]) -> bytes:
    """A Tree message: an output folder with all the folders in it."""
    root, children = _directories(files, ())
    distinct = {_serialise(child): child for child in children}
    return _serialise(reapi.Tree(root=root, children=list(distinct.values())))


def write_result(files: Mapping[str, File], folders: Mapping[str, Digest], contents: Mapping[str, bytes]) -> bytes:
    """An ActionResult of an action that succeeded; of the files in ``contents`` it has the bytes, too."""
    return _serialise(
        reapi.ActionResult(
            output_files=[
                reapi.OutputFile(path=path, digest=to_message(each.digest), is_executable=each.executable, contents=contents.get(path, b""))
                for path, each in sorted(files.items())
            ],
            output_directories=[
                reapi.OutputDirectory(path=path, tree_digest=to_message(digest)) for path, digest in sorted(folders.items())
            ],
        )
    )


def read_result(data: bytes) -> RemoteResult:
    """What an ActionResult says. Raises ValueError for bytes that are none."""
    try:
        found = reapi.ActionResult.FromString(data)
    except DecodeError as error:
        raise ValueError(f"this is no ActionResult: {error}") from None
    return result_of(found)


def result_of(found: reapi.ActionResult) -> RemoteResult:
    """What an ActionResult says."""
    return RemoteResult(
        files={each.path: File(from_message(each.digest), each.is_executable) for each in found.output_files},
        folders={each.path: from_message(each.tree_digest) for each in found.output_directories},
        contents={each.path: each.contents for each in found.output_files if each.contents},
        exit_code=found.exit_code,
        worker=found.execution_metadata.worker,
    )


def to_message(digest: Digest) -> reapi.Digest:
    """A digest as a message."""
    return reapi.Digest(hash=digest.hash, size_bytes=digest.size)


def from_message(digest: reapi.Digest) -> Digest:
    """A digest out of a message."""
    return Digest(digest.hash, digest.size_bytes)


def _directories(files: Mapping[str, File], folders: Iterable[str]) -> tuple[reapi.Directory, list[reapi.Directory]]:
    """The root Directory of a tree, and all the others."""
    here: dict[str, File] = {}
    below: dict[str, dict[str, File]] = {}
    empty: dict[str, list[str]] = {}
    for path, file in files.items():
        first, _, rest = path.partition("/")
        if rest:
            below.setdefault(first, {})[rest] = file
        else:
            here[first] = file
    for path in folders:
        first, _, rest = path.partition("/")
        below.setdefault(first, {})
        empty.setdefault(first, []).extend([rest] if rest else [])
    nodes, children = [], []
    for name in sorted(below):
        child, grandchildren = _directories(below[name], empty.get(name, ()))
        nodes.append(reapi.DirectoryNode(name=_utf8(name), digest=to_message(Digest.of(_serialise(child)))))
        children += [child, *grandchildren]
    return reapi.Directory(
        files=[
            reapi.FileNode(name=_utf8(name), digest=to_message(here[name].digest), is_executable=here[name].executable)
            for name in sorted(here)
        ],
        directories=nodes,
    ), children


def _utf8(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the name {name!r} is not UTF-8, which the Remote Execution API asks for") from None
    return name


def _serialise(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)
