"""TOML (https://toml.io/en/v1.0.0), of which every Python since 3.11 has a reader and none a writer."""

from __future__ import annotations

import json
import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:  # for the older TensorRTs, which have no packages for a later Python
    import tomli as tomllib


def read_toml(text: str) -> dict[str, Any]:
    """The tables in a text. Raises ValueError, with line and column."""
    return tomllib.loads(text)


def quoted(text: str) -> str:
    """A basic string or a quoted key. Raises ValueError for a text with half of a surrogate pair, such as a file name that is not UTF-8."""
    text.encode()
    # JSON escapes what TOML does, but for DEL; and it writes \ud83d\ude00 where TOML wants one character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
