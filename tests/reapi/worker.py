"""A worker of a REAPI engine, over google.devtools.remoteworkers.v1test2: what buildbox-worker is where that is packaged.

It runs in the engine's own environment, not in that of Enginewright: ``worker.py SERVER ID FOLDER PATH [KEY=VALUE...]`` takes one
action at a time from the engine at SERVER (HOST:PORT) as the worker ID of these platform properties. What it fetches and runs lies
below FOLDER, and PATH is where an action's commands are looked up. It appends to FOLDER/ran a line for each action that it began
and ended: ``begin DIGEST TIME`` and ``end DIGEST TIME STATUS``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import grpc
from buildgrid._protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re
from buildgrid._protos.build.bazel.remote.execution.v2 import remote_execution_pb2_grpc as re_grpc
from buildgrid._protos.google.bytestream import bytestream_pb2, bytestream_pb2_grpc
from buildgrid._protos.google.devtools.remoteworkers.v1test2 import bots_pb2, bots_pb2_grpc, worker_pb2
from buildgrid._protos.google.rpc import code_pb2

BEAT_SECONDS = 1.0
"""How often the engine hears of an action that runs: it takes one that is silent for longer for dead."""

POLL_SECONDS = 10
BATCH_BYTES = 1 << 21


class Blobs:
    """The engine's blobs, kept in a folder once they are fetched, as inputs of one action are often those of the next."""

    def __init__(self, channel: grpc.Channel, folder: Path) -> None:
        self._cas = re_grpc.ContentAddressableStorageStub(channel)
        self._stream = bytestream_pb2_grpc.ByteStreamStub(channel)
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, digest: re.Digest) -> Path:
        """A file with the bytes of this digest."""
        place = self._folder / digest.hash
        if not place.exists():
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                state = hashlib.sha256()
                for answer in self._stream.Read(bytestream_pb2.ReadRequest(resource_name=f"blobs/{digest.hash}/{digest.size_bytes}")):
                    state.update(answer.data)
                    file.write(answer.data)
            if state.hexdigest() != digest.hash:
                raise ValueError(f"blob {digest.hash} came with other bytes")
            os.rename(file.name, place)
        return place

    def message(self, digest: re.Digest, kind: type):
        return kind.FromString(self.path(digest).read_bytes() if digest.size_bytes else b"")

    def add(self, data: bytes) -> re.Digest:
        digest = re.Digest(hash=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
        if self._missing(digest):
            if len(data) < BATCH_BYTES:
                self._cas.BatchUpdateBlobs(re.BatchUpdateBlobsRequest(requests=[{"digest": digest, "data": data}]))
            else:
                self._write(digest, [data[start : start + BATCH_BYTES] for start in range(0, len(data), BATCH_BYTES)])
        return digest

    def add_file(self, path: Path) -> re.Digest:
        return self.add(path.read_bytes())

    def _missing(self, digest: re.Digest) -> bool:
        return bool(self._cas.FindMissingBlobs(re.FindMissingBlobsRequest(blob_digests=[digest])).missing_blob_digests)

    def _write(self, digest: re.Digest, pieces: list[bytes]) -> None:
        name = f"uploads/{os.urandom(16).hex()}/blobs/{digest.hash}/{digest.size_bytes}"

        def requests():
            offset = 0
            for piece in pieces:
                last = offset + len(piece) == digest.size_bytes
                yield bytestream_pb2.WriteRequest(resource_name=name, write_offset=offset, data=piece, finish_write=last)
                offset += len(piece)

        self._stream.Write(requests())


class Running:
    """One action, in a process group of its own."""

    def __init__(self, lease: bots_pb2.Lease, blobs: Blobs, folder: Path, path: str, name: str, tell) -> None:
        self.lease = lease
        self._blobs, self._folder, self._path, self._name, self._tell = blobs, folder, path, name, tell
        self._process: subprocess.Popen | None = None
        self._cancelled = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def cancel(self) -> None:
        self._cancelled = True
        self._kill()

    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _run(self) -> None:
        root = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            if self.lease.payload.Is(re.Action.DESCRIPTOR):
                action = re.Action()
                self.lease.payload.Unpack(action)
            else:
                digest = re.Digest()
                self.lease.payload.Unpack(digest)
                action = self._blobs.message(digest, re.Action)
            short = hashlib.sha256(action.SerializeToString(deterministic=True)).hexdigest()[:16]
            self._tell(f"begin {short} {time.time()}")
            code, message, result = self._execute(action, root / "root")
            self._tell(f"end {short} {time.time()} {code}")
            self.lease.result.Pack(result)
        except Exception as problem:  # of the engine, or of a file that is not there: this worker's own failures are for it to retry
            code, message = code_pb2.INTERNAL, f"{type(problem).__name__}: {problem}"
        finally:
            shutil.rmtree(root, ignore_errors=True)
        self.lease.status.code, self.lease.status.message = code, message
        self.lease.state = bots_pb2.LeaseState.COMPLETED

    def _execute(self, action: re.Action, root: Path):
        result = re.ActionResult()
        result.execution_metadata.worker = self._name
        result.execution_metadata.worker_start_timestamp.GetCurrentTime()
        command = self._blobs.message(action.command_digest, re.Command)
        self._stage(action.input_root_digest, root)
        inside = root / command.working_directory
        paths = list(command.output_paths) or [*command.output_files, *command.output_directories]
        for path in paths:
            (inside / path).parent.mkdir(parents=True, exist_ok=True)
        own = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        environment = {"PATH": self._path, **own, **{each.name: each.value for each in command.environment_variables}}
        out, err = root.parent / "out", root.parent / "err"
        seconds = action.timeout.ToTimedelta().total_seconds() if action.HasField("timeout") else None
        result.execution_metadata.execution_start_timestamp.GetCurrentTime()
        late = False
        with open(out, "wb") as stdout, open(err, "wb") as stderr:
            try:
                executable = shutil.which(command.arguments[0], path=environment["PATH"]) or command.arguments[0]
                self._process = subprocess.Popen(
                    command.arguments, executable=executable, cwd=inside, env=environment,
                    stdout=stdout, stderr=stderr, start_new_session=True,
                )  # fmt: skip
                result.exit_code = self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                late = True
            except OSError as problem:
                result.exit_code = 127
                stderr.write(str(problem).encode())
            self._kill()
            if late:
                self._process.wait()
        result.execution_metadata.execution_completed_timestamp.GetCurrentTime()
        result.stdout_digest.CopyFrom(self._blobs.add_file(out))
        result.stderr_digest.CopyFrom(self._blobs.add_file(err))
        for path in paths:
            self._collect(inside, path, result)
        result.execution_metadata.worker_completed_timestamp.GetCurrentTime()
        if self._cancelled:
            return code_pb2.CANCELLED, "cancelled", result
        return (code_pb2.DEADLINE_EXCEEDED, f"ran for more than {seconds:g} s", result) if late else (code_pb2.OK, "", result)

    def _stage(self, digest: re.Digest, folder: Path) -> None:
        folder.mkdir(parents=True)
        listing = self._blobs.message(digest, re.Directory)
        for each in listing.directories:
            self._stage(each.digest, folder / each.name)
        for each in listing.files:
            shutil.copy(self._blobs.path(each.digest), folder / each.name)
            os.chmod(folder / each.name, 0o755 if each.is_executable else 0o644)

    def _collect(self, inside: Path, path: str, result: re.ActionResult) -> None:
        place = inside / path
        if place.is_dir():
            tree = re.Tree()
            root = self._directory(place, tree)
            tree.root.CopyFrom(root)
            result.output_directories.add(path=path, tree_digest=self._blobs.add(tree.SerializeToString()))
        elif place.is_file():
            executable = os.access(place, os.X_OK)
            result.output_files.add(path=path, digest=self._blobs.add_file(place), is_executable=executable)

    def _directory(self, folder: Path, tree: re.Tree) -> re.Directory:
        found = re.Directory()
        for place in sorted(folder.iterdir()):
            if place.is_dir():
                child = self._directory(place, tree)
                tree.children.append(child)
                found.directories.add(name=place.name, digest=self._blobs.add(child.SerializeToString()))
            else:
                found.files.add(name=place.name, digest=self._blobs.add_file(place), is_executable=os.access(place, os.X_OK))
        return found


def main(server: str, name: str, folder: str, path: str, *properties: str) -> None:
    """Take leases until this process is killed."""
    below = Path(folder)
    options = [("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 1), ("grpc.max_reconnect_backoff_ms", 1000)]
    channel = grpc.insecure_channel(server, options=options)
    grpc.channel_ready_future(channel).result(timeout=60)
    bots = bots_pb2_grpc.BotsStub(channel)
    blobs = Blobs(channel, below / "blobs")
    ran = open(below / "ran", "a", buffering=1)

    def tell(line: str) -> None:
        ran.write(line + "\n")

    device = worker_pb2.Device(handle=name)
    for each in properties:
        key, _, value = each.partition("=")
        device.properties.add(key=key, value=value)
    wanted = bots_pb2.BotSession(bot_id=name, status=bots_pb2.BotStatus.OK, worker=worker_pb2.Worker(devices=[device]))
    session, running = None, {}
    while True:
        try:
            if session is None:
                for each in running.values():
                    each.cancel()
                running = {}
                session = bots.CreateBotSession(bots_pb2.CreateBotSessionRequest(parent="", bot_session=wanted), timeout=POLL_SECONDS)
            for lease in session.leases:
                if lease.state in (bots_pb2.LeaseState.PENDING, bots_pb2.LeaseState.ACTIVE) and lease.id not in running:
                    lease.state = bots_pb2.LeaseState.ACTIVE
                    running[lease.id] = Running(lease, blobs, below, path, name, tell)
            known = {lease.id for lease in session.leases if lease.state != bots_pb2.LeaseState.CANCELLED}
            for gone in set(running) - known:
                running.pop(gone).cancel()
            for each in running.values():
                each.thread.join(BEAT_SECONDS)
            del session.leases[:]
            session.leases.extend(each.lease for each in running.values())
            # Without an action it is the engine that waits, until there is one.
            session = bots.UpdateBotSession(bots_pb2.UpdateBotSessionRequest(name=session.name, bot_session=session), timeout=POLL_SECONDS)
        except grpc.RpcError as problem:
            print(problem.code(), problem.details(), file=sys.stderr, flush=True)
            if problem.code() != grpc.StatusCode.DEADLINE_EXCEEDED:
                session = None
                time.sleep(0.5)


if __name__ == "__main__":
    main(*sys.argv[1:])
