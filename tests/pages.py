"""Pages of documentation, followed to the letter in a workspace.

A block of Python or TOML is a file, with its path in a comment on the first line. A block of `sh` is run by a shell, and must
succeed. A block of `text` is what the last of those said, on standard output and error, down to what `alike` passes over.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable

from throwaway import DOIT, Workspace

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
_FILE = re.compile(r"# (\S+)\n")


def blocks(text: str) -> list[tuple[str, str]]:
    """The language and the text of each fenced block."""
    return _BLOCK.findall(text)


def follow(workspace: Workspace, found: Iterable[tuple[str, str]]) -> None:
    """Do in the workspace what blocks say, one after the other."""
    environment = {**workspace.environment, "PATH": f"{DOIT.parent}{os.pathsep}{workspace.environment['PATH']}"}
    said = None
    for language, text in found:
        if language in ("python", "toml"):
            path = _FILE.match(text)
            assert path, f"the block begins with no comment that names its file: {text.splitlines()[0]}"
            workspace.write({path[1]: text})
        elif language == "sh":
            done = subprocess.run(
                ["bash", "-e", "-c", text], cwd=workspace.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            assert done.returncode == 0, f"{text}{done.stdout}"
            said = done.stdout.replace(str(workspace.store), "~/.cache/enginewright")
        else:
            assert language == "text", f"nobody knows what to do with a block of {language}"
            assert said is not None, f"no command has said this: {text}"
            assert alike(said) == alike(text), said
            said = None


def alike(output: str) -> str:
    """What a command says without that in which two runs of it differ: ids of builds, dates, times and memory.

    Digests and sizes stay: the same files give the same.
    """
    output = re.sub(r"\b\d{8}T\d{6}Z-\d+", "BUILD", output)
    output = re.sub(r"\b\d{4}-\d\d-\d\d \d\d:\d\d\b", "DATE", output)
    output = re.sub(r"\b\d+(\.\d)? m?s\b", "TIME", output)
    return re.sub(r"\b\d+ MB of memory", "MEMORY", output)
