"""What object storage says when it does not do what it is asked, as obstore has it."""

from __future__ import annotations

import re

_FOR_CREDENTIALS = ("169.254.169.254", "metadata.google.internal", "/latest/api/token")
"""Who is asked for credentials when the environment has none, and for what: the cloud that this machine may be a part of."""


def lacks_credentials(error: Exception) -> bool:
    """Whether there were no credentials to ask with."""
    return any(each in str(error) for each in _FOR_CREDENTIALS)


def in_a_line(error: Exception) -> str:
    """What went wrong. Of a document in XML that came as the answer its code is quoted, not the rest."""
    text = " ".join(str(error).partition("Debug source")[0].split())
    first = text.partition(": <")[0][:400] or type(error).__name__
    code = re.search(r"<Code>(\w+)</Code>", str(error))
    return f"{first}: {code[1]}" if code else first
