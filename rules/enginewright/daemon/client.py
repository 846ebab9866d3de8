"""A connection to the Docker Engine that the user's `docker` commands talk to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from enginewright.errors import ActionError, WorkspaceError

if TYPE_CHECKING:
    import docker

VARIABLES = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONTEXT", "DOCKER_CONFIG", "HOME")
"""The variables that say which Engine that is, and with what rights it is talked to."""

_TIMEOUT_SECONDS = 600
"""For one answer. An image of many gigabytes is unpacked before there is one."""


@contextmanager
def connect() -> Iterator[docker.DockerClient]:
    """The Engine of ``DOCKER_HOST`` or of the current `docker context`.

    Raises WorkspaceError, saying what to do, where it is not running, or the user may not talk to it; and ActionError when it goes away
    or refuses what it is asked meanwhile.
    """
    import docker
    import requests
    from docker.errors import DockerException

    host = ""
    try:
        host, options = _endpoint()
        client = docker.DockerClient(base_url=host, version="auto", timeout=_TIMEOUT_SECONDS, **options)
    except (DockerException, requests.RequestException, OSError) as error:
        raise WorkspaceError(_not_there(host, error)) from None
    try:
        yield client
    except DockerException as error:
        raise ActionError(f"Docker ({host}): {getattr(error, 'explanation', None) or error}") from None
    except requests.RequestException as error:
        reason = _innermost(error)
        raise ActionError(f"the connection to Docker ({host}) broke: {getattr(reason, 'strerror', None) or reason}") from None
    finally:
        client.close()


def _endpoint() -> tuple[str, dict[str, object]]:
    """The address of the Engine, and the client's options for it."""
    import os

    import docker.utils
    from docker.context import ContextAPI
    from docker.context.config import get_current_context_name

    if not os.environ.get("DOCKER_HOST"):
        named = os.environ.get("DOCKER_CONTEXT")
        context = ContextAPI.get_context(named)
        if context is None:  # not the Engine that is meant, then, is the one on this machine
            which = f"{named!r}, as DOCKER_CONTEXT says" if named else f"{get_current_context_name()!r}, which is the current one"
            raise WorkspaceError(f"there is no docker context {which}: `docker context ls` lists them")
        if context.Host:
            return context.Host, {"tls": context.TLSConfig} if context.TLSConfig else {}
    found = docker.utils.kwargs_from_env()
    return found.pop("base_url", "unix:///var/run/docker.sock"), found


def _not_there(host: str, error: Exception) -> str:
    reason = _innermost(error)
    if isinstance(reason, (NameError, StopIteration)):  # of what the SDK could not import, or read: it says itself what for
        reason = error
    if isinstance(reason, PermissionError):
        return f"this user may not talk to Docker ({host}): be root, or a member of the group docker"
    where = f" ({host}: {getattr(reason, 'strerror', None) or reason})" if host else f" ({reason})"
    return f"Docker is not running, or not here{where}: start it, or say where it is with DOCKER_HOST or `docker context use`"


def _innermost(error: BaseException) -> BaseException:
    """The error that led to another: the libraries wrap it several times."""
    while True:
        inner = error.__cause__ or error.__context__ or next((each for each in error.args if isinstance(each, BaseException)), None)
        if (isinstance(error, OSError) and error.errno is not None) or inner is None or inner is error:
            return error
        error = inner
