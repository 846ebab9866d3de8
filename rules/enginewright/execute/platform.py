"""What this machine has to run actions on."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import sys
from collections.abc import Mapping

from enginewright.execute.resources import machine_memory, parse_size
from enginewright.graph.action import APT_SOURCES

PROGRAMS = "/usr/local/bin:/usr/bin:/bin"
"""Where actions find programs: their PATH."""


@functools.cache
def host_platform() -> str:
    """The operating system, the processor and the Python that actions run on, as they stand in action keys."""
    return f"{sys.platform}-{platform.machine()}-{sys.implementation.name}-{platform.python_version()}"


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
        if name == "apt" and (there := _archives()) not in ("", value):
            return f"needs the archives of Debian {value}, and apt here has those of {there}: name others with {APT_SOURCES}"
        if name not in ("apt", "cpu", "gpu", "memory", "network", "programs"):
            return f"has the execution requirement {name}={value!r}, which nothing here provides"
    return ""
