"""The Python that wheels are for: its version and the platform, as wheels and environment markers know them.

Tags are those of https://packaging.python.org/en/latest/specifications/platform-compatibility-tags/, markers those of
https://packaging.python.org/en/latest/specifications/dependency-specifiers/#environment-markers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PYTHON = re.compile(r"3\.(\d{1,2})")
PLATFORM = re.compile(r"manylinux_2_(\d{1,2})_(x86_64|aarch64)")
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
"""What the platform was called before PEP 600, by the minor version of glibc."""


@dataclass(frozen=True)
class Target:
    """CPython of version ``python``, as ``3.11``, on ``platform``, as ``manylinux_2_28_x86_64``: Linux with that glibc or a later one."""

    python: str
    platform: str

    @property
    def platforms(self) -> list[str]:
        """The platform tags of wheels that run there, the best first."""
        match = PLATFORM.fullmatch(self.platform)
        assert match is not None
        found = []
        for minor in range(int(match[1]), 4, -1):
            found.append(f"manylinux_2_{minor}_{match[2]}")
            if minor in _LEGACY and (match[2] == "x86_64" or minor == 17):
                found.append(f"{_LEGACY[minor]}_{match[2]}")
        return [*found, f"linux_{match[2]}"]

    @property
    def tag(self) -> str:
        """The tag of the interpreter, as ``cp311``."""
        return "cp" + self.python.replace(".", "")

    def markers(self) -> dict[str, str]:
        """The environment that markers are evaluated in."""
        return {
            "implementation_name": "cpython", "implementation_version": f"{self.python}.0", "os_name": "posix",
            "platform_machine": self.platform.partition("_")[2].split("_", 2)[2], "platform_python_implementation": "CPython",
            "platform_release": "", "platform_system": "Linux", "platform_version": "", "python_full_version": f"{self.python}.0",
            "python_version": self.python, "sys_platform": "linux",
        }  # fmt: skip

    def accepts(self, wheel: str) -> bool:
        """Whether a wheel of this file name can be installed there. Raises `packaging.utils.InvalidWheelFilename`."""
        from packaging.tags import compatible_tags, cpython_tags
        from packaging.utils import parse_wheel_filename

        version = (3, int(self.python.partition(".")[2]))
        tags = {
            *cpython_tags(version, [self.tag], self.platforms),
            *compatible_tags(version, self.tag, self.platforms),
        }
        return bool(parse_wheel_filename(wheel)[3] & tags)
