"""A small graph that has something of everything: a chain, a fan-out, files on both sides of 1 MiB, a tree, many outputs."""

from __future__ import annotations

from throwaway import PYPROJECT, Workspace

BUILD = """
from enginewright import files_layer, image, python_action

python_action(name="start", function="make.py:copy", inputs={"src": "src.txt"}, outputs={"out": "out.txt"})
python_action(name="large", function="make.py:enlarge", inputs={"src": ":start"}, outputs={"out": "out.bin"})
python_action(name="end", function="make.py:size", inputs={"src": ":large"}, outputs={"out": "out.txt"})
for n in range(4):
    python_action(name=f"fan{n}", function="make.py:copy", inputs={"src": ":start"}, outputs={"out": "out.txt", "again": "again.txt"})
files_layer(name="layer", files={"/large": ":large", "/end": ":end"})
image(name="image", layers=[":layer"])
"""

MAKE = '''
import subprocess


def copy(inputs, outputs, params):
    subprocess.Popen(["sleep", "600"])
    for path in outputs.values():
        path.write_bytes(inputs["src"].read_bytes())


def enlarge(inputs, outputs, params):
    """Write 1.25 MiB: such a file is placed as a link."""
    line = inputs["src"].read_bytes().rjust(64)
    with outputs["out"].open("wb") as out:
        for _ in range(20 * 1024):
            out.write(line)


def size(inputs, outputs, params):
    outputs["out"].write_text(str(inputs["src"].stat().st_size))
'''

LABELS = {f"models/x:{name}" for name in ("start", "large", "end", "fan0", "fan1", "fan2", "fan3", "layer", "image")}


def write_mixed(workspace: Workspace) -> None:
    """Make it the workspace's only package."""
    workspace.write({"dodo.py": "", "pyproject.toml": PYPROJECT, "models/x/BUILD.py": BUILD, "models/x/make.py": MAKE})
    set_source(workspace, 0)


def set_source(workspace: Workspace, number: int) -> None:
    """Change the source that everything is made of."""
    workspace.write({"models/x/src.txt": f"{number}\n"})
