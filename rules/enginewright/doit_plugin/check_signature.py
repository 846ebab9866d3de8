"""``doit check-signature``: whether an image in a registry is signed with a key, and what the same key states about it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.built import outputs_of
from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.images import is_label
from enginewright.doit_plugin.options import OPT_JSON, option
from enginewright.doit_plugin.session import user_errors
from enginewright.doit_plugin.sign import reference_of
from enginewright.doit_plugin.transfers import OPT_CA, OPT_PLAIN_HTTP, read_ca
from enginewright.errors import ActionError

_OPT_KEY = option("key", "", "the public key, a PEM file")
_OPT_AT = option("at", "", "of a label: where its image was pushed, REGISTRY/NAME")
_OPT_TYPE = option(
    "type", [], "a predicate type of which there must be a signed statement, as https://slsa.dev/provenance/v1; may be given several times"
)


class CheckSignatureCommand(Command):
    """Looks into the registry, and changes nothing."""

    name = "check-signature"
    doc_purpose = "check that an image in a registry is signed with a key"
    doc_usage = "REGISTRY/NAME[:TAG][@DIGEST] --key FILE | LABEL --at REGISTRY/NAME --key FILE"
    doc_description = (
        "Of a reference, the image is what the registry has there now; of a label, it is the one that was built here, which the registry"
        " must have. Prints the digest, by which the image is to be used from then on. Exit codes: 0 it is signed, 1 it is not, 3 an error."
    )
    cmd_options = (_OPT_KEY, _OPT_AT, _OPT_TYPE, OPT_PLAIN_HTTP, OPT_CA, OPT_JSON)

    def execute(self, params: Any, args: list[str]) -> int:
        """Check the one image in ``args``."""
        if len(args) != 1 or not params["key"]:
            raise InvalidCommand("doit check-signature: say what, and with which public key: ghcr.io/team/minilm:1.0 --key release.pub")
        ca = read_ca(params)
        from enginewright.attest.keys import load_public
        from enginewright.attest.signature import SignatureProblem, verify_image
        from enginewright.oci.registry.client import Client
        from enginewright.oci.registry.transport import Access

        with user_errors():
            key = load_public(params["key"])
        digest = ""
        if params["at"]:
            digest = self._built(args[0], params)
        elif is_label(args[0]):
            raise InvalidCommand(f"{args[0]} is a target here: say with --at REGISTRY/NAME where its image is")
        reference = reference_of(params["at"] or args[0])
        try:
            with user_errors():
                repository = Client(Access(params["plain_http"], ca)).repository(reference)
                described = repository.head_manifest(digest or reference.selector)
                if described is None:
                    raise SignatureProblem(f"{repository} has no {digest or reference.selector}")
                checked = verify_image(repository, digest or described.digest, key)
            types = sorted({str(each["predicateType"]) for each in checked.statements})
            if missing := sorted(set(params["type"]) - set(types)):
                others = f"; others do not count: {', '.join(sorted(set(checked.others)))}" if checked.others else ""
                raise SignatureProblem(
                    f"{repository}@{checked.digest} is signed, but there is no signed statement of type {missing[0]}{others}"
                )
        except SignatureProblem as problem:
            print(f"ERROR: {problem}", file=sys.stderr)
            return 1
        except ActionError as error:  # of the registry: nothing is known of the signature
            raise InvalidCommand(str(error)) from None
        if params["json"]:
            print(
                json.dumps(
                    {"reference": f"{repository}@{checked.digest}", "digest": checked.digest, "statements": checked.statements}, indent=1
                )
            )
        else:
            print(f"{repository}@{checked.digest} is signed with {params['key']}", *(f"  states  {each}" for each in types), sep="\n")
        return 0

    def _built(self, text: str, params: Any) -> str:
        from enginewright.attest.statement import image_digest

        self.loader.setup(params)
        if ":" not in text:
            raise InvalidCommand(f"{text} is no label: name one image, as images/minilm:image")
        ((label, layout),) = outputs_of([text], ("layout",), "image: name an image(), or a reference without --at").items()
        if not Path(layout, "index.json").exists():
            raise InvalidCommand(f"{layout} does not exist: doit build {label}")
        return image_digest(layout)
