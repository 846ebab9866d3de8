"""``doit sign``: sign an image in a registry, and statements about it, as a sign() target says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.built import bring_up_to_date
from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.options import OPT_JSON, option
from enginewright.doit_plugin.session import open_build, select, user_errors
from enginewright.doit_plugin.transfers import OPT_CA, OPT_PLAIN_HTTP, read_ca
from enginewright.errors import ActionError, with_article
from enginewright.execute.build import Build
from enginewright.graph.dag import Target

_OPT_TO = option("to", "", "where the image is: REGISTRY/NAME")
OPT_KEY = option("key", "", "another private key than the declared one: file:PATH, env:NAME or pkcs11:...")


class SignCommand(Command):
    """Builds what is to be signed, and signs what the registry has of it."""

    name = "sign"
    doc_purpose = "sign an image in a registry, and statements about it"
    doc_usage = "LABEL --to REGISTRY/NAME"
    doc_description = (
        "Builds the image and the statements that a sign() target names, and puts signatures of them, as Cosign writes them, beside the"
        " image in the registry, where it must be: doit push brings it there. What the key has signed already is not signed again. The"
        " password of the key is in ENGINEWRIGHT_KEY_PASSWORD, or is asked for. Exit codes: 0 it is signed, 1 it could not be built or"
        " signed, 3 an error before anything ran."
    )
    execute_tasks = True
    cmd_options = (_OPT_TO, OPT_KEY, OPT_PLAIN_HTTP, OPT_CA, OPT_JSON)

    def execute(self, params: Any, args: list[str]) -> int:
        """Sign what the one target in ``args`` declares."""
        if len(args) != 1 or ":" not in args[0] or not params["to"]:
            raise InvalidCommand(
                "doit sign takes one label, and where the image is, as in: doit sign images/minilm:signed --to ghcr.io/team/minilm"
            )
        ca = read_ca(params)
        self.load_settings(params)
        build = open_build(Path.cwd(), look_only=True)
        (label,) = select(build, args)
        target = build.graph.targets[label]
        if target.kind != "sign":
            raise InvalidCommand(f"{label} is {with_article(target.kind)}: name a sign()")
        from enginewright.attest.keys import load_private
        from enginewright.attest.signature import sign_image
        from enginewright.oci.registry.client import Client
        from enginewright.oci.registry.transport import Access

        reference = reference_of(params["to"])
        with user_errors():
            key = load_private(params["key"] or target.attributes["key"])
        if code := bring_up_to_date([label]):
            return code
        try:
            with user_errors():
                digest, statements = said_of(build, target)
                repository = Client(Access(params["plain_http"], ca)).repository(reference, push=True)
                signed = sign_image(repository, digest, key, statements)
        except ActionError as error:
            print(f"ERROR: {error}", file=sys.stderr)
            return 1
        if params["json"]:
            print(
                json.dumps({"label": args[0], "reference": f"{reference.name}@{digest}", "tags": signed.tags, "new": signed.new}, indent=1)
            )
        else:
            what = f"{signed.new} new: {', '.join(signed.tags)}" if signed.new else "it was already"
            print(f"{reference.name}@{digest} is signed, with {len(statements)} statement{'s' * (len(statements) != 1)} ({what})")
        return 0


def reference_of(text: str) -> Any:
    """The reference that a text is. Raises doit's InvalidCommand."""
    from enginewright.oci.registry.reference import Reference

    try:
        return Reference.parse(text)
    except ValueError as error:
        raise InvalidCommand(str(error)) from None


def said_of(build: Build, target: Target) -> tuple[str, list[bytes]]:
    """The digest of the image that a sign() target is about, and the statements that go with it, from the outputs of what it names.

    Raises OSError, and ActionError for a statement about another image.
    """
    from enginewright.attest.attestations import statements_in
    from enginewright.attest.statement import image_digest

    image, *others = target.deps
    outputs = {}
    for label in target.deps:
        action = build.graph.targets[label].action
        outputs[label] = {name: Path(artifact.path) for name, artifact in action.outputs.items()} if action else {}
    digest, found = image_digest(outputs[image]["layout"]), []
    for label in others:
        try:
            found += statements_in(outputs[label], str(image), digest)
        except ValueError as error:
            raise ActionError(f"{target}: attestations: {label} {error}") from None
    return digest, found
