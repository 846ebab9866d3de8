"""The ways a build goes wrong that a user can do something about: three kinds of our own, and what the system refuses.

Each message is complete: what was wrong, where, and what to do. Nothing above these prints a traceback.
"""

from __future__ import annotations

import errno


class WorkspaceError(Exception):
    """Something outside any one declaration: no workspace here, an unknown label on the command line, a full disk."""


class DeclarationError(Exception):
    """A mistake in a BUILD.py. The message begins with ``path:line:``."""


class ActionError(Exception):
    """Raised by a rule's run function: the reason, in words for the person who declared the target."""


FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


MAKE_ROOM = "make room there (in the store with `doit cache gc`), and build again"


def in_words(error: OSError, when_full: str = MAKE_ROOM) -> str:
    """What the system refused, of which file, and what to do about a full disk."""
    path = error.filename2 or error.filename  # of a link or a rename, the new name
    hint = f"; {when_full}" if error.errno in FULL_DISK else ""
    return f"{error.strerror or error}{f': {path}' if path else ''}{hint}"


def with_article(kind: str) -> str:
    """``an image``, ``a sign``: what a target is, as the messages name it."""
    # Of what is spelt out, S begins with a vowel too.
    return f"{'an' if kind[0] in 'aeio' or kind == 'sbom' else 'a'} {kind}"
