"""Building a Dockerfile with BuildKit, through the `docker` command: the SDK speaks the older builder's language only."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from enginewright.errors import ActionError
from enginewright.oci.tar import Member, packed

if TYPE_CHECKING:
    import docker

_PROGRAMS = (b"#!", b"\x7fELF")
"""How files begin that are to be executable: of a source, its mode is in no key."""


def build(
    context: Iterable[Member], dockerfile: str, args: Mapping[str, str], secrets: Mapping[str, bytes], target: str, platform: str
) -> str:
    """Build a Dockerfile, given by its path in the context, up to the stage ``target`` if there is one; return the image's id.

    ``secrets`` are what ``RUN --mount=type=secret,id=...`` is to find; they are handed over in memory, and are not in the image, in its
    history, or in what is printed here. Raises ActionError with BuildKit's words, and where there is none.
    """
    archive = packed(context)
    with tempfile.TemporaryDirectory() as folder:
        handed = {name: _in_memory(value) for name, value in secrets.items()}
        try:
            command = [
                _program(), "build", "--progress", "plain", "--platform", platform, "--file", dockerfile, "--iidfile", f"{folder}/id",
                *(part for name, value in args.items() for part in ("--build-arg", f"{name}={value}")),
                *(part for name, handle in handed.items() for part in ("--secret", f"id={name},src=/proc/self/fd/{handle}")),
                *(["--target", target] if target else []), "-",
            ]  # fmt: skip
            environment = {**os.environ, "DOCKER_BUILDKIT": "1", "BUILDX_BUILDER": "default"}
            done = subprocess.run(
                command,
                input=archive,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=handed.values(),
                env=environment,
            )
        finally:
            for handle in handed.values():
                os.close(handle)
        said = _without(done.stdout, secrets.values()).decode(errors="replace")
        print(said)
        if done.returncode:
            raise ActionError(_reason(said))
        return Path(folder, "id").read_text().strip()


def save(client: docker.DockerClient, image: str, archive: Path) -> None:
    """Write an image, by its id, into a file as `docker save` does; then take it away if nothing has named it."""
    from docker.errors import APIError

    with archive.open("wb") as out:
        for piece in client.api.get_image(image):
            out.write(piece)
    with suppress(APIError):  # a container of it may run
        if not client.api.inspect_image(image)["RepoTags"]:
            client.api.remove_image(image, noprune=True)


def mode_of(source: Path) -> int:
    """The mode that a file of the context gets: by its content, so that it is the same for everybody."""
    with source.open("rb") as file:
        return 0o755 if file.read(4).startswith(_PROGRAMS) else 0o644


def _program() -> str:
    """A `docker` that can use BuildKit: one before version 23, or one with buildx beside it."""
    found = [path for folder in os.get_exec_path() if (path := shutil.which("docker", path=folder))]
    for program in found:
        version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.removeprefix("Docker version ")
        major = version.partition(".")[0]
        if (major.isdecimal() and int(major) < 23) or not subprocess.run([program, "buildx", "version"], capture_output=True).returncode:
            return program
    if found:
        raise ActionError(
            f"{found[0]} has no buildx, without which it cannot use BuildKit: install docker-buildx (or docker-buildx-plugin)"
        )
    raise ActionError("the command docker is not installed: install Docker's command line")


def _in_memory(value: bytes) -> int:
    """A descriptor of a file that is on no disk."""
    handle = os.memfd_create("secret")
    os.write(handle, value)
    os.lseek(handle, 0, os.SEEK_SET)
    return handle


def _without(said: bytes, secrets: Iterable[bytes]) -> bytes:
    for secret in secrets:
        for line in {secret.strip(), *secret.split()}:
            if len(line) > 3:  # a shorter one would blot out words
                said = said.replace(line, b"[secret]")
    return said


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    stated = next((line for line in reversed(lines) if "rror" in line or "failed" in line), (lines or ["it said nothing"])[-1])
    return f"the Dockerfile could not be built: {stated}"
