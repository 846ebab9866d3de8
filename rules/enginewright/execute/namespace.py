"""The sandbox as the kernel keeps it: an action's process in a mount namespace of its own, without the network.

What native code and child processes read, change and connect to counts then too, and none of them outlives the build. What
all actions of a fork server can share, its namespaces of processes and of the network above all, it makes once (`prepare`,
and `close_off` once it is warm); each child then makes what is its own (`enter`). Linux 5.12 or later, for mount_setattr(2);
as root, or where an unprivileged user may make a user namespace. libc has no functions for the newer calls, so they go
through syscall(2), by numbers that are the same on every architecture but Alpha. Constants are those of <linux/sched.h>,
<linux/mount.h>, <linux/capability.h>, <linux/prctl.h> and <fcntl.h>.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET, _CLONE_NEWIPC = 0x2_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000, 0x800_0000
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH = 1, 4
_MOUNT_ATTR_RDONLY, _MS_PRIVATE = 1, 1 << 18
_MS_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_CAPABILITY_VERSION_3 = 0x2008_0522
_KEPT_CAPABILITIES = (0, 1, 3, 4)
"""CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID: what root may do to files that it can reach. Without the others
nothing here can be undone."""

_OF_THE_MACHINE = ("acpi", "bus", "fs", "irq", "scsi", "sys", "sysrq-trigger")
"""What root could change below /proc that is no process's own, as container runtimes know it."""

_MEMORY = os.path.realpath("/dev/shm")
"""Shared memory, which is where POSIX has it."""

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttributes(ctypes.Structure):
    """struct mount_attr, of mount_setattr(2)."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


def prepare(network: bool) -> None:
    """Move this process, which must have one thread, and all that it will start into namespaces of their own.

    Without ``network`` there is nothing to connect to, not even the loopback. What is shared by the means of System V, as message queues,
    ends with them. The next child that is forked is the first process
    of a namespace: when it ends, the kernel kills all others in it.

    Raises OSError, with the call that failed, where the kernel does not allow it; the process is of no use then.
    """
    _unshare(_CLONE_NEWPID | _CLONE_NEWIPC | (0 if network else _CLONE_NEWNET))


def close_off(gpu: bool = False) -> None:
    """Make all mounts read-only for this process, which has called `prepare` or is forked from one that has.

    What it has open for writing stays open: these are mounts of its own. With ``gpu`` it is to use CUDA, whose driver looks
    itself up below /proc by the number it has in its own namespace, and writes there. Raises OSError as `prepare` does.
    """
    _unshare(_CLONE_NEWNS)
    _set_attributes(_AT_FDCWD, "/", _AT_RECURSIVE, set=_MOUNT_ATTR_RDONLY, propagation=_MS_PRIVATE)
    if gpu:
        _check("mount", "/proc", _libc.mount(b"proc", b"/proc", b"proc", _MS_NOSUID_NODEV_NOEXEC, None))
        for name in _OF_THE_MACHINE:
            _make_read_only(f"/proc/{name}")
    _bound_capabilities()


def enter(hidden: Sequence[str], visible: Mapping[str, str], writable: Iterable[str]) -> None:
    """Move this process, forked from one that has called `prepare` and `close_off`, into a mount namespace of its own, and lock it in.

    Of the folders ``hidden`` only what is ``visible`` and ``writable`` is there, at its place. ``visible`` maps paths to what
    they lead to; where these differ, the path is a symbolic link. Every other mount is as it was, but only what is ``writable``
    can be written to. Shared memory (/dev/shm) is private. Paths are absolute, and all but the keys of ``visible`` resolved.

    Raises OSError as `prepare` does.
    """
    _unshare(_CLONE_NEWNS)
    folders = _outermost({*hidden, *([_MEMORY] if os.path.isdir(_MEMORY) else [])})
    covered = {folder: os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for folder in folders}
    for folder in covered:
        mode = b"mode=1777" if folder == _MEMORY else b"mode=755"
        _check("mount", folder, _libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, mode))
    for place in sorted(set(visible.values())):
        with suppress(FileNotFoundError):  # a folder of sys.path that never was, or an input that went away just now
            _uncover(place, covered)
    for path, place in visible.items():
        if path != place and _covering(path, covered) and not os.path.lexists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.symlink(place, path)
    for place in writable:
        _uncover(place, covered, writable=True)
    for folder, handle in covered.items():
        if folder != _MEMORY:
            _set_attributes(_AT_FDCWD, folder, set=_MOUNT_ATTR_RDONLY)
        os.close(handle)
    _drop_capabilities()


def unavailable(hidden: Sequence[str], writable: Iterable[str]) -> str:
    """Why this machine cannot have such a sandbox; empty when it can. A child process tries."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            prepare(network=False)
            close_off()
            inner = os.fork()
            if inner == 0:
                enter(hidden, {}, writable)
                os._exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1])
        except OSError as problem:
            os.write(write, f"{problem.strerror}{f': {problem.filename}' if problem.filename else ''}".encode())
        finally:
            os._exit(status)
    os.close(write)
    with open(read, encoding="utf-8") as answer:
        why = answer.read()
    _, status = os.waitpid(child, 0)
    return why or (f"a process that tried it ended with status {os.waitstatus_to_exitcode(status)}" if status else "")


def _unshare(namespaces: int) -> None:
    """Leave the namespaces of these kinds: as root, or as the one user of a new user namespace."""
    user, group = os.geteuid(), os.getegid()
    if _libc.unshare(namespaces) == 0:
        return
    _check("unshare", "", _libc.unshare(namespaces | _CLONE_NEWUSER))
    for name, text in (("setgroups", b"deny"), ("uid_map", b"%d %d 1" % (user, user)), ("gid_map", b"%d %d 1" % (group, group))):
        with open(f"/proc/self/{name}", "wb", buffering=0) as file:
            file.write(text)


def _uncover(place: str, covered: Mapping[str, int], writable: bool = False) -> None:
    """Put a file or folder that is covered back in its place, unless it can be seen there already."""
    folder = _covering(place, covered)
    if not writable and (folder is None or os.path.lexists(place)):
        return
    # What is covered can still be reached from a descriptor of the folder.
    start, path = (_AT_FDCWD, place) if folder is None else (covered[folder], os.path.relpath(place, folder))
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    tree = _check("open_tree", place, _system_call(_OPEN_TREE, start, path, flags))
    try:
        if writable:
            _set_attributes(tree, "", _AT_EMPTY_PATH, clear=_MOUNT_ATTR_RDONLY)
        if stat.S_ISDIR(os.fstat(tree).st_mode):
            os.makedirs(place, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            os.close(os.open(place, os.O_CREAT | os.O_CLOEXEC))
        _check("move_mount", place, _system_call(_MOVE_MOUNT, tree, "", _AT_FDCWD, place, _MOVE_MOUNT_F_EMPTY_PATH))
    finally:
        os.close(tree)


def _make_read_only(place: str) -> None:
    """Mount a file or folder, if there is such, read-only over itself."""
    if os.path.exists(place):
        tree = _check("open_tree", place, _system_call(_OPEN_TREE, _AT_FDCWD, place, _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC))
        try:
            _set_attributes(tree, "", _AT_EMPTY_PATH | _AT_RECURSIVE, set=_MOUNT_ATTR_RDONLY)
            _check("move_mount", place, _system_call(_MOVE_MOUNT, tree, "", _AT_FDCWD, place, _MOVE_MOUNT_F_EMPTY_PATH))
        finally:
            os.close(tree)


def _set_attributes(start: int, path: str, flags: int = 0, *, set: int = 0, clear: int = 0, propagation: int = 0) -> None:
    attributes = _MountAttributes(set, clear, propagation, 0)
    result = _system_call(_MOUNT_SETATTR, start, path, flags, ctypes.byref(attributes), ctypes.sizeof(attributes))
    _check("mount_setattr", path, result)


def _bound_capabilities() -> None:
    """See to it that no program started from here on has what could undo the sandbox."""
    capability = 0
    while _libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) >= 0:
        if capability not in _KEPT_CAPABILITIES:
            _check("prctl", "", _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0))
        capability += 1


def _drop_capabilities() -> None:
    """Give up, for good, what could undo the sandbox: root is then a user who owns everything and can read everything."""
    kept = sum(1 << each for each in _KEPT_CAPABILITIES)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # Effective, permitted and inheritable, of the first 32 capabilities and of the others.
    _check("capset", "", _libc.capset(header, (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)))


def _outermost(folders: Iterable[str]) -> list[str]:
    """These folders, without those that lie in another of them."""
    found: list[str] = []
    for folder in sorted(folders):
        if not any(folder.startswith(f"{outer}/") for outer in found):
            found.append(folder)
    return found


def _covering(path: str, covered: Iterable[str]) -> str | None:
    return next((folder for folder in covered if path.startswith(f"{folder}/")), None)


def _system_call(number: int, *arguments: object) -> int:
    converted = (
        ctypes.c_long(each) if isinstance(each, int) else os.fsencode(each) if isinstance(each, str) else each for each in arguments
    )
    return int(_libc.syscall(ctypes.c_long(number), *converted))


def _check(call: str, path: str, result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}", *([path] if path else []))
    return result
