"""What this machine has to run actions on."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from enginewright.execute.resources import machine_memory, parse_size
from enginewright.graph.action import APT_SOURCES

PROGRAMS = "/usr/local/bin:/usr/bin:/bin"
"""Where actions find programs: their PATH."""

PROPERTY = "platform."
"""What the names of execution requirements begin with that are platform properties of a remote executor's workers."""


@functools.cache
def host_platform() -> str:
    """The operating system, the processor and the Python that actions run on, as they stand in action keys."""
    return f"{sys.platform}-{platform.machine()}-{sys.implementation.name}-{platform.python_version()}"


@functools.cache
def _docker() -> str:
    """Why there is no Docker Engine to talk to; empty when there may be one: only those on this machine are asked."""
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not host.startswith("unix://") or os.environ.get("DOCKER_CONTEXT"):
        return ""
    with socket.socket(socket.AF_UNIX) as asked:
        try:
            asked.connect(host.removeprefix("unix://"))
            return ""
        except OSError as error:
            # A `docker context` that is in use names another.
            config = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker", "config.json")
            if not os.environ.get("DOCKER_HOST") and config.is_file() and "currentContext" in config.read_text(errors="replace"):
                return ""
            return f"it is not running, or not for this user ({host}: {error.strerror})"


def _archives() -> str:
    """The release whose archives apt knows on this machine; empty when the environment names others, which may be any."""
    if os.environ.get(APT_SOURCES):
        return ""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return "no known release"
    name = release.get("VERSION_CODENAME", "no known release")
    return name if release["ID"] == "debian" else f"{release['ID']} {name}"


@functools.cache
def gpus() -> tuple[str, ...]:
    """The architectures of the GPUs at hand, such as ``("sm_90",)``, asked of the CUDA driver; none without a driver."""
    from enginewright.tensorrt.cuda import architectures

    return architectures()


def unmet(requires: Mapping[str, str]) -> str:
    """Why an action with these execution requirements cannot run here; empty when it can."""
    for name, value in requires.items():
        if name.startswith(PROPERTY):
            return f"needs a worker of a remote executor with {name.removeprefix(PROPERTY)}={value}"
        if name == "gpu" and value not in gpus():
            there = f"there are: {', '.join(gpus())}" if gpus() else "there is none"
            return f"needs a GPU of architecture {value}, and {there} on this machine"
        if name == "network" and value not in ("", "yes"):
            return f"has the execution requirement network={value!r}, which nothing here provides"
        if name == "memory" and parse_size(value) > machine_memory():
            return f"needs {value} of memory, and this machine has {machine_memory() / 1e9:.0f} GB"
        if name == "cpu" and int(value) > (os.cpu_count() or 1):
            return f"needs {value} processors, and this machine has {os.cpu_count()}"
        if name == "programs" and (missing := [program for program in value.split() if shutil.which(program, path=PROGRAMS) is None]):
            return f"needs the program {missing[0]}, which is not installed here"
        if name == "docker" and (why := _docker()):
            return f"needs Docker, and {why}"
        if name == "apt" and (there := _archives()) not in ("", value):
            return f"needs the archives of Debian {value}, and apt here has those of {there}: name others with {APT_SOURCES}"
        if name not in ("apt", "cpu", "docker", "gpu", "memory", "network", "programs"):
            return f"has the execution requirement {name}={value!r}, which nothing here provides"
    return ""
