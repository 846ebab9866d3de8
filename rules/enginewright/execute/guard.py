"""The portable floor of the sandbox: an audit hook and an import filter inside the action's own process.

The hook sees what Python code opens, lists, changes and connects to (PEP 578), and says what to declare. It cannot see what
native code or a child process does; `enginewright.execute.namespace` is for that.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Policy:
    """What an action may do. All paths are absolute and resolved.

    ``sandbox`` are the folders the action may write below; ``root``, in them, mirrors the workspace. ``declared`` are the inputs
    (and folders, for trees); ``runtime`` are folders of the interpreter and its libraries; ``modules`` the top-level modules
    of the toolchain. ``package`` is the declaring package's folder, relative to the workspace.
    """

    workspace: str
    sandbox: tuple[str, ...]
    root: str
    package: str
    declared: frozenset[str]
    runtime: tuple[str, ...]
    modules: frozenset[str]
    network: bool

    def may_read(self, real: str) -> bool:
        """Whether an action may read what lies at this resolved path."""
        return not _below(real, (self.workspace,)) or _below(real, (*self.runtime, *self.declared, *self.sandbox))


class Violation(PermissionError):
    """Something the action did not declare. The message names it and says what to add."""

    def __str__(self) -> str:
        """The message, though the library has added the name of a file, as `shutil.rmtree` does from Python 3.13 on."""
        return str(self.args[0])


def install(policy: Policy, workspace: int) -> list[str]:
    """Enforce ``policy`` on this process from now on. Returns the list to which each violation's message is added.

    A violation is raised where it happens, and counts even if the code catches it. ``workspace`` is a descriptor of the
    workspace's folder, in which this process may not see by its path what it did not declare.
    """
    found: list[str] = []
    checks = _checks(policy, workspace, found)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        check = checks.get(event)
        if check is not None:
            check(*args)

    hide_all_but(policy.modules)
    sys.addaudithook(hook)
    return found


def _checks(policy: Policy, workspace: int, found: list[str]) -> Mapping[str, Callable[..., None]]:
    def refuse(message: str) -> None:
        found.append(message)
        raise Violation(message)

    def kind_in_workspace(full: str) -> int:
        """What the workspace has at the place of a path below the sandbox's root, as `mode_below` says."""
        return mode_below(workspace, os.path.relpath(full, policy.root))

    def read(path: object, folder: int = -1) -> None:
        full = _absolute(path, folder)
        if full is None or _below(full, policy.runtime):
            return
        # Where Python looks for what it compiled, it goes on to the source when that is not there.
        compiled = os.path.basename(os.path.dirname(full)) == "__pycache__"
        if not compiled and _below(full, (policy.root,)) and not os.path.lexists(full) and kind_in_workspace(full):
            refuse(undeclared(os.path.relpath(full, policy.root), policy.package))
        real = os.path.realpath(full)
        if not policy.may_read(real):
            refuse(undeclared(os.path.relpath(real, policy.workspace), policy.package))

    def write(path: object, folder: int = -1) -> None:
        full = _absolute(path, folder)
        real = os.path.realpath(full) if full is not None else None
        if real is not None and (not _below(real, ("/dev",)) or _below(real, ("/dev/shm",))):
            refuse_outside(real)

    def change_folder(path: object, folder: int = -1) -> None:
        """Add or take away a name: a link of this name is not followed."""
        full = _absolute(path, folder)
        if full is not None:
            refuse_outside(os.path.join(os.path.realpath(os.path.dirname(full)), os.path.basename(full)))

    def refuse_outside(real: str) -> None:
        if not _below(real, policy.sandbox):
            shown = os.path.relpath(real, policy.workspace) if _below(real, (policy.workspace,)) else real
            refuse(f"writes to {shown}: an action may write its outputs and temporary files only")

    def opened(path: Any, mode: str | None, flags: int) -> None:
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC) if mode is None else set(mode) & set("wax+")
        full = _absolute(path)
        if writes:
            write(path)
        # shutil.rmtree opens subfolders by names relative to a folder descriptor, which the event does not tell.
        elif mode is not None or full is None or os.path.isabs(path) or not stat.S_ISDIR(kind_in_workspace(full)):
            read(path)

    def linked(source: object, target: object, source_folder: int, target_folder: int) -> None:
        read(source, source_folder)
        change_folder(target, target_folder)

    def renamed(source: object, target: object, source_folder: int, target_folder: int) -> None:
        change_folder(source, source_folder)
        change_folder(target, target_folder)

    def connects(*args: Any) -> None:
        address = args[-1]
        if isinstance(address, tuple) and not policy.network:
            refuse(f"connects to {address[0]}:{address[1]}: actions have no network; fetch the file and declare it as a source")

    def resolves(host: object, port: object = None, *_: object) -> None:
        if not policy.network:
            name = host.decode() if isinstance(host, bytes) else host
            refuse(f"looks up {name}{f':{port}' if port else ''}: actions have no network; fetch the file and declare it as a source")

    return {
        "open": opened, "os.listdir": read, "os.scandir": read, "os.chdir": read,
        "os.truncate": lambda path, length: write(path),
        "os.chmod": lambda path, mode, folder: write(path, folder), "os.utime": lambda path, times, ns, folder: write(path, folder),
        "os.remove": change_folder, "os.rmdir": change_folder, "os.mkdir": lambda path, mode, folder: change_folder(path, folder),
        "os.rename": renamed, "os.link": linked, "os.symlink": lambda source, target, folder: change_folder(target, folder),
        "socket.connect": connects, "socket.sendto": connects, "socket.sendmsg": connects,
        "socket.getaddrinfo": resolves, "socket.gethostbyname": resolves,
    }  # fmt: skip


def hide_all_but(modules: frozenset[str]) -> None:
    """Have imports find, of what is installed, these top-level modules only."""
    ours = _DeclaredOnly(modules)
    sys.meta_path[:] = [ours if finder is PathFinder or isinstance(finder, _DeclaredOnly) else finder for finder in sys.meta_path]


def hidden(module: str) -> bool:
    """Whether a top-level module is installed, and was not found only because the toolchain lacks it."""
    return PathFinder.find_spec(module) is not None


def mode_below(folder: int, path: str) -> int:
    """The mode of the file, folder or link at a path relative to an open folder; 0 when there is none."""
    try:
        return os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode
    except OSError:
        return 0


def undeclared(path: str, package: str) -> str:
    """What is wrong with the read of a file of the workspace that ``package`` did not declare, and what to do about it."""
    if path.startswith("build/"):
        return f"reads {path}, which is not among its declared inputs: name the target that makes it in an attribute"
    below = path.removeprefix(package + "/")
    what = f"add {below!r} to srcs" if below != path else "move or link it into the package, and add it to srcs"
    return f"reads {path}, which is not among its declared inputs: {what}"


def _absolute(path: object, folder: int = -1) -> str | None:
    """A path, relative to an open ``folder`` or to the current one, as an absolute text; None for an open file descriptor."""
    if isinstance(path, int):
        return None
    if path is None:
        return os.getcwd()
    text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else str(path)
    return os.path.abspath(text if folder < 0 else os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text))


def _below(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


class _DeclaredOnly:
    """Stands in for the path finder, and does not find installed modules that are not in the toolchain."""

    def __init__(self, modules: frozenset[str]) -> None:
        self._known = modules | {"enginewright"}
        library = os.path.dirname(os.__file__)
        self._installed = [path for path in sys.path if path not in (library, f"{library}/lib-dynload")]

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or path is not None or name in self._known:
            return spec
        places = (spec.origin, *(spec.submodule_search_locations or ()))
        installed = any(place and _below(os.path.abspath(place), self._installed) for place in places)
        return None if installed else spec

    # The rest of what the path finder does for importlib and importlib.metadata stays as it is.
    find_distributions = staticmethod(PathFinder.find_distributions)
    invalidate_caches = staticmethod(PathFinder.invalidate_caches)
