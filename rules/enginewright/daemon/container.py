"""One container of an image, for as long as it is looked at: started, waited for, asked, and removed whatever happens."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from enginewright.errors import ActionError

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

_UNTIL = "dev.enginewright.until"
"""A label of our containers: the time, in seconds since 1970, after which whoever started one must have been killed."""
_OWNER = "dev.enginewright.owner"
"""The label of those that may run for ever: the process that started it, and on which machine that is."""
_POLL_SECONDS = 0.1
_LOG_LINES = 20
_LARGEST_ANSWER = 1 << 24


@contextmanager
def running(
    client: docker.DockerClient,
    image: str,
    ports: Sequence[str],
    env: Mapping[str, str],
    *,
    published: Mapping[str, int] | None = None,
    most_seconds: float | None = None,
    grace_seconds: int = 0,
) -> Iterator[Container]:
    """A running container of an image, by its id, whose ``ports`` (as ``8000/tcp``) are reachable on the loopback.

    It is removed at the end, after ``grace_seconds`` to stop by itself; those that others left, who were killed, are removed first: once
    the ``most_seconds`` are over that they could take or, where that is None, once their process is gone. ``published`` maps ports to
    those that they are to have here: any free one, for the others.
    """
    remove_left_over(client)
    label = {_OWNER: _process(os.getpid())} if most_seconds is None else {_UNTIL: str(int(time.time() + most_seconds))}
    bindings = {port: ("127.0.0.1", (published or {}).get(port)) for port in ports}
    # Who is interrupted while Docker makes it would not know what there is to remove.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    container = None
    try:
        container = client.containers.create(image, detach=True, ports=bindings, environment=dict(env), labels=label)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        container.start()
        yield container
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if container is not None:
            remove(container, grace_seconds)


def remove(container: Container, grace_seconds: int = 0) -> None:
    """Remove a container, running or not, with its volumes."""
    from docker.errors import APIError, NotFound

    try:
        if grace_seconds:
            with suppress(NotFound, APIError):
                container.stop(timeout=grace_seconds)
    finally:  # who is interrupted again does not want to wait
        with suppress(NotFound):
            container.remove(force=True, v=True)


def remove_left_over(client: docker.DockerClient) -> None:
    """Remove our containers whose time is over, or whose process on this machine is."""
    for container in client.containers.list(all=True, filters={"label": _UNTIL}, ignore_removed=True):
        if float(container.labels.get(_UNTIL, "0")) < time.time():
            remove(container)
    for container in client.containers.list(all=True, filters={"label": _OWNER}, ignore_removed=True):
        owner = container.labels.get(_OWNER, "")
        machine, _, process = owner.rpartition(" pid ")
        if machine == _machine() and owner != _process(int(process.partition(" ")[0])):
            remove(container)


def _machine() -> str:
    """What tells this system, since it was started, from all others; and the namespace in which its processes have their numbers."""
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"


def _process(number: int) -> str:
    """A process of this machine, with the time of its start: numbers are used again. Another text once it is gone."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return ""
    return f"{_machine()} pid {number} {stat.rpartition(')')[2].split()[19]}"  # proc(5), "starttime"


def address(container: Container, port: str) -> tuple[str, int]:
    """Where a port of a container is reachable. Raises ActionError where it is not published, or the container has ended."""
    _look(container)
    bound = (container.ports or {}).get(port)
    if not bound:
        raise ActionError(
            f"its port {port} is not reachable: Docker published {', '.join(container.ports or ()) or 'none'}{end_of_log(container)}"
        )
    return bound[0]["HostIp"], int(bound[0]["HostPort"])


def wait_until_healthy(container: Container, port: str, path: str, seconds: float) -> None:
    """Wait until a GET of ``path`` is answered with a status below 400; without one, as long as the image's own HEALTHCHECK says.

    Raises ActionError, with the end of its log, where it ends before that, or ``seconds`` are over.
    """
    import http.client

    last = "it did not answer"
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        _look(container)
        health = container.attrs["State"].get("Health", {}).get("Status", "")
        if not path and health in ("", "healthy"):
            return
        if path:
            try:
                status, _ = request(address(container, port), "GET", path, b"", 5)
                if status < 400:
                    return
                last = f"GET {path} was answered with {status}"
            except (OSError, http.client.HTTPException) as error:
                last = f"GET {path}: {error or type(error).__name__}"
        else:
            last = f"its HEALTHCHECK says {health!r}"
        time.sleep(_POLL_SECONDS)
    raise ActionError(f"the container was not healthy after {seconds:.0f} s: {last}{end_of_log(container)}")


def _look(container: Container) -> None:
    """Ask Docker how a container is. Raises ActionError, with the end of its log, where it has ended."""
    container.reload()
    if container.status not in ("created", "running"):
        code = container.attrs["State"].get("ExitCode")
        raise ActionError(f"the container has ended, with exit code {code}{end_of_log(container)}")


def request(place: tuple[str, int], method: str, path: str, body: bytes, seconds: float) -> tuple[int, bytes]:
    """One HTTP request; the status and the body of the answer. Raises OSError and `http.client.HTTPException`."""
    import http.client

    connection = http.client.HTTPConnection(*place, timeout=seconds)
    try:
        connection.request(method, path, body or None, {"Content-Type": "application/octet-stream"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read(_LARGEST_ANSWER)
    finally:
        connection.close()


def end_of_log(container: Container) -> str:
    """The last lines that a container printed, on lines of their own; empty when there are none."""
    from docker.errors import DockerException

    try:
        lines = container.logs(tail=_LOG_LINES).decode(errors="replace").strip()
    except DockerException:
        return ""
    return f"\nits log ends with:\n{lines}" if lines else ""
