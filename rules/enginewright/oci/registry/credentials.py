"""Who we are to a registry: the logins of `docker login`, in its configuration file or with its credential helpers."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from enginewright.oci.registry.errors import RegistryError
from enginewright.oci.registry.reference import DOCKER_HUB


@dataclass(frozen=True)
class Credentials:
    """A user name and a password, or a token to get tokens with (``identity_token``). Never shown, not even in a traceback."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


def find_credentials(registry: str) -> Credentials | None:
    """What `docker login REGISTRY` left, or None.

    ``config.json`` lies in ``DOCKER_CONFIG`` or ``~/.docker``; ``credHelpers`` and ``credsStore`` in it count. Raises RegistryError for a
    file that cannot be read and for a helper that fails.
    """
    path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RegistryError(f"{path}, where the logins for registries are, cannot be read: {error}") from None

    from docker import auth, errors

    try:
        with warnings.catch_warnings():  # a helper that is not installed is an error that is told below
            warnings.simplefilter("ignore")
            # The file has to be read here all the same: a damaged one would count as empty there.
            found = auth.load_config(config_dict=config).resolve_authconfig(registry) if config else None
    except (errors.DockerException, ValueError, KeyError, AttributeError, TypeError, OSError) as error:
        # Of the entries themselves nothing is shown.
        reason = str(error) if isinstance(error, (errors.DockerException, OSError)) else "an entry is malformed"
        raise RegistryError(f"the login for {registry} in {path} cannot be used: {reason}; try `docker login {shown(registry)}`") from None
    known = {name.lower(): value for name, value in (found or {}).items()}
    if known.get("identitytoken"):
        return Credentials(identity_token=known["identitytoken"])
    if known.get("username"):
        return Credentials(known["username"], known.get("password") or "")
    return None


def shown(registry: str) -> str:
    """A registry as `docker login` takes it: nothing for Docker Hub."""
    return "" if registry == DOCKER_HUB else registry
