"""What the actions of the tests in this folder do. It is copied into their workspace, and runs in the sandbox."""

import ctypes
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def copy(inputs, outputs, params):
    """Every input, one after the other, to every output."""
    print("copying", *sorted(inputs))
    for path in outputs.values():
        path.write_bytes(b"".join(inputs[name].read_bytes() for name in sorted(inputs)))


def parameters(inputs, outputs, params):
    outputs["out"].write_text(repr(params))


def surroundings(inputs, outputs, params):
    """All that an action sees of the machine and of the process that started it."""
    found = {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "temporary": tempfile.gettempdir(),
        "umask": os.umask(0o022),
        "stdin": sys.stdin.read(),
        "files": sorted(path.as_posix() for path in Path().rglob("*")),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
    }
    outputs["out"].write_text(json.dumps(found))


# Reading and changing files in many ways. Each takes a path, relative to the workspace or absolute.


def attempt(inputs, outputs, params):
    """Try every way of params["attempts"] on its path, and print what became of it: what it returned, or how it failed."""
    for way, path in params["attempts"].items():
        try:
            told = repr(globals()[way](path))
        except Exception as error:
            told = str(error)
        print(json.dumps([way, told]))
    outputs["out"].write_text("done")


def by_open(path):
    return open(path).read()


def by_path(path):
    return Path(path).read_bytes()


def by_descriptor(path):
    return os.read(os.open(path, os.O_RDONLY), 100)


def by_listing(path):
    return os.listdir(os.path.dirname(path))


def by_scanning(path):
    return list(os.scandir(os.path.dirname(path)))


def by_walking(path):
    return list(Path(path).parent.rglob("*"))


def by_copying(path):
    return shutil.copy(path, tempfile.gettempdir())


def by_symlink(path):
    link = Path(tempfile.gettempdir(), "symlink")
    link.symlink_to(os.path.abspath(path))
    return link.read_text()


def by_hardlink(path):
    link = Path(tempfile.gettempdir(), "hardlink")
    os.link(os.path.realpath(path), link)
    return link.read_text()


def by_import(path):
    sys.path.insert(0, os.path.dirname(path))
    try:
        return __import__(Path(path).stem)
    finally:
        del sys.path[0]


def by_change_of_folder(path):
    before = os.getcwd()
    os.chdir(os.path.dirname(path))
    try:
        return open(os.path.basename(path)).read()
    finally:
        os.chdir(before)


def read(inputs, outputs, params):
    outputs["out"].write_text(open(params["path"]).read())


def read_and_swallow(inputs, outputs, params):
    try:
        open(params["path"])
    except BaseException as error:
        print("never mind:", error)
    outputs["out"].write_text("made without it")


def read_optional(inputs, outputs, params):
    """A file that is not there is not read, and may be missing."""
    outputs["out"].write_text(str([Path(path).is_file() and Path(path).read_text() for path in params["paths"]]))


def use_temporary_files(inputs, outputs, params):
    """Files and folders below the temporary folder, named as those of the workspace."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("models/x/deep", "build", "docs/pictures"):
            Path(folder, name).mkdir(parents=True)
            Path(folder, name, "misdeeds.py").write_text(name)
        os.rename(Path(folder, "build"), Path(folder, "renamed"))
        shutil.rmtree(Path(folder, "models"))
    with tempfile.TemporaryFile() as file, tempfile.NamedTemporaryFile("w+") as named:
        file.write(b"1")
        named.write("2")
    Path.home().joinpath(".cache").mkdir()
    Path.home().joinpath(".cache", "file").write_text("3")
    Path("models/x/__pycache__").mkdir()
    Path("models/x/__pycache__/net.pyc").write_text("4")
    with open(os.devnull, "w") as null:
        null.write("5")
    outputs["out"].write_text("done")


# The network. params["address"] is a host and a port.


def connect(inputs, outputs, params):
    socket.create_connection(params["address"]).close()
    outputs["out"].write_text("connected")


def connect_by_number(inputs, outputs, params):
    with socket.socket() as peer:
        peer.connect(tuple(params["address"]))


def send(inputs, outputs, params):
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.sendto(b"hello", tuple(params["address"]))


def send_message(inputs, outputs, params):
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.sendmsg([b"hello"], [], 0, tuple(params["address"]))


def look_up(inputs, outputs, params):
    socket.gethostbyname(params["address"][0])


def connect_and_swallow(inputs, outputs, params):
    try:
        socket.create_connection(params["address"], timeout=1)
    except OSError:
        outputs["out"].write_text("never mind")


def change_text(path):
    Path(path).write_text("changed")


def change_end(path):
    with open(path, "a") as file:
        file.write("changed")


def change_in_place(path):
    with open(path, "r+") as file:
        file.write("changed")


def change_descriptor(path):
    os.write(os.open(path, os.O_WRONLY | os.O_CREAT), b"changed")


def change_size(path):
    os.truncate(path, 0)


def change_mode(path):
    os.chmod(path, 0o777)


def change_times(path):
    os.utime(path, (0, 0))


def change_by_rename(path):
    new = Path(os.environ["HOME"], "new")  # on the file system of the sandbox's links
    new.write_text("changed")
    os.replace(new, path)


def take_away(path):
    os.rename(path, Path(os.environ["HOME"], "old"))


def remove(path):
    os.remove(path)


def remove_folder(path):
    shutil.rmtree(os.path.dirname(path))


def remove_below_descriptor(path):
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    os.remove(os.path.basename(path), dir_fd=folder)


def make_folder(path):
    os.mkdir(path + ".d")


def make_link(path):
    os.symlink("misdeeds.py", path + ".link")


def make_hardlink(path):
    os.link(os.path.realpath(path), path + ".hardlink")


# What the audit hook does not see: calls of the C library, and child processes.

libc = ctypes.CDLL(None, use_errno=True)


def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def read_natively(path):
    file = check(libc.open(os.fsencode(path), os.O_RDONLY))
    text = ctypes.create_string_buffer(100)
    check(libc.read(file, text, 100))
    return text.value.decode()


def change_natively(path):
    file = check(libc.open(os.fsencode(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644))
    check(libc.write(file, b"changed", 7))


def change_mode_natively(path):
    check(libc.chmod(os.fsencode(path), 0o666))


def remove_natively(path):
    check(libc.unlink(os.fsencode(path)))


def link_natively(path):
    check(libc.link(os.fsencode(path), b"hardlink"))


def connect_natively(inputs, outputs, params):
    host, port = params["address"]
    address = struct.pack("<H", socket.AF_INET) + struct.pack("!H4s8x", port, socket.inet_aton(host))
    check(libc.connect(check(libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)), address, len(address)))
    outputs["out"].write_text("connected")


def connect_by_child(inputs, outputs, params):
    code = f"import socket; socket.create_connection({tuple(params['address'])}); print('connected', end='')"
    with open(outputs["out"], "w") as out:
        subprocess.run([sys.executable, "-c", code], check=True, stdout=out)


def shell(inputs, outputs, params):
    """What each of params["commands"] printed, on standard output and error."""
    ran = [subprocess.run(command, shell=True, text=True, capture_output=True) for command in params["commands"]]
    outputs["out"].write_text(json.dumps([each.stdout + each.stderr for each in ran]))


def shell_or_fail(inputs, outputs, params):
    subprocess.run(params["command"], shell=True, check=True)


def write_stray(inputs, outputs, params):
    outputs["out"].write_text("done")
    stray = Path(params["path"])
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_text("stray")


# Outputs that are not what was declared.


def nothing(inputs, outputs, params):
    """Write nothing."""


def folder(inputs, outputs, params):
    outputs["out"].mkdir()
    (outputs["out"] / "file").write_text("text")


def pipe(inputs, outputs, params):
    os.mkfifo(outputs["out"])


def put_away_streams(inputs, outputs, params):
    sys.stdout = sys.stderr = None
    outputs["out"].write_text("done")


def fail_for_another_reason(inputs, outputs, params):
    from enginewright.errors import ActionError

    try:
        {}["key"]
    except KeyError as error:
        raise ActionError("it failed") from error


def deep_folder(inputs, outputs, params):
    code = 'import os\nfor _ in range(1500):\n    os.mkdir("d")\n    os.chdir("d")'
    outputs["out"].mkdir()
    subprocess.run([sys.executable, "-c", code], cwd=outputs["out"], check=True)


def link(inputs, outputs, params):
    outputs["out"].symlink_to("elsewhere")


def link_to_input(inputs, outputs, params):
    """A symbolic link to the input, by its name in the sandbox."""
    outputs["out"].symlink_to(inputs["in"])


def tree(inputs, outputs, params):
    root = outputs["out"]
    (root / "bin").mkdir(parents=True)
    (root / "a\nb").write_text("text")
    (root / "empty").touch()
    (root / "bin" / "run").write_text("#!/bin/sh")
    (root / "bin" / "run").chmod(0o700)
    (root / "linked").symlink_to(os.path.realpath(inputs["in"]))


def tree_with_link(inputs, outputs, params):
    outputs["out"].mkdir()
    (outputs["out"] / "link").symlink_to("/etc/passwd")


# Ends.


def die(inputs, outputs, params):
    outputs["out"].write_text("half")
    os.kill(os.getpid(), getattr(signal, params["signal"]))
    time.sleep(60)


def leave(inputs, outputs, params):
    outputs["out"].write_text("half")
    os._exit(params["status"])


def leave_politely(inputs, outputs, params):
    sys.exit("enough")


def fail(inputs, outputs, params):
    outputs["out"].write_text("half")
    print("about to fail")
    raise ZeroDivisionError("just so")


def run_out_of_memory(inputs, outputs, params):
    raise MemoryError


def fail_at_length(inputs, outputs, params):
    from enginewright.errors import ActionError

    raise ActionError("x" * 1_000_000)


# Modules.


def import_module(inputs, outputs, params):
    module = __import__(params["module"])
    outputs["out"].write_text(module.__name__)


def import_if_there(inputs, outputs, params):
    try:
        import numpy
    except ImportError:
        numpy = None
    outputs["out"].write_text(str(numpy is None))


# Actions that take their time: they say that they have started, and wait for what the test does.


def until_changed(inputs, outputs, params):
    """Wait until the input's bytes, or only its stat, are others than they were; a tree's first file stands for the tree."""
    path = inputs["in"] if inputs["in"].is_file() else inputs["in"] / "a"

    def moved():
        return not path.exists() or (path.stat().st_ino, path.stat().st_ctime_ns) != before

    before = (path.stat().st_ino, path.stat().st_ctime_ns)
    print("started", flush=True)
    while not moved():
        time.sleep(0.01)
    outputs["out"].write_text("done")


def forever(inputs, outputs, params):
    # /proc has the numbers that processes have outside a namespace of their own.
    child = subprocess.Popen(["sh", "-c", "read pid _ < /proc/self/stat; echo $pid; exec sleep 3600"], stdout=subprocess.PIPE, text=True)
    print("started", os.readlink("/proc/self"), child.stdout.readline().strip(), flush=True)
    time.sleep(3600)


def leave_children(inputs, outputs, params):
    """Children that outlive the action and hold all it had open."""
    if os.fork() == 0:
        time.sleep(3600)
    os.system("sleep 3600 &")
    outputs["out"].write_text("done")
