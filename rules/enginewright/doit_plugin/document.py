"""The document that a command makes: into a file, or to standard output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from enginewright.doit_plugin.options import option
from enginewright.doit_plugin.session import user_errors


def output_option(file: str) -> dict[str, Any]:
    """The option --output of a command that writes ``file``, or with --json to standard output."""
    return option("output", "", f"the file to write; - for standard output [default: {file}, or standard output with --json]", "o")


def write_document(text: str, output: str, said: str) -> None:
    """Write to the file ``output``, and say so; to standard output when it is "-", and say nothing."""
    if output == "-":
        print(text, end="")
        return
    with user_errors():
        # Not put in place by a rename, which would replace what a link or a device leads to.
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        Path(output).write_text(text, encoding="utf-8", errors="backslashreplace")  # file names need not be UTF-8
    print(f"{output}: {said}")
