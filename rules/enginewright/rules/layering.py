"""What all rules that make a layer of an image share: how it is compressed, the date of its files, its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from enginewright.graph.action import Artifact, Value
from enginewright.graph.attributes import AttributeProblem
from enginewright.graph.rule import Context, Rule
from enginewright.oci.compression import CODECS, Compression, parse_compression


def check_compression(text: str) -> None:
    """Raise AttributeProblem for what is no compression; the empty one leaves the choice to the build."""
    try:
        parse_compression(text or "none")
    except ValueError as error:
        raise AttributeProblem("compression", str(error)) from None


def is_image_path(path: str) -> bool:
    """Whether a path names something below the root of an image: absolute, without '.', '..', '//' or a slash at its end."""
    return path.startswith("/") and not {"", ".", ".."} & set(path[1:].split("/")) and "\0" not in path


@dataclass(frozen=True, kw_only=True)
class LayerRule(Rule):
    """A rule that makes a layer.

    ``compression`` is ``"none"``, ``"gzip"`` or ``"zstd"``, with a level as in ``"zstd:9"``; left out, it is what `doit build
    --compression` or the setting ``compression`` says. ``mtime`` is when its files were modified, in seconds since 1970, or
    ``"SOURCE_DATE_EPOCH"`` for what the environment says: then a later date is another layer.
    """

    provides: ClassVar[Mapping[str, str]] = {"layer": ".tar", "descriptor": ".json"}

    compression: str = ""
    mtime: int | Literal["SOURCE_DATE_EPOCH"] = 0

    def check(self) -> None:
        check_compression(self.compression)
        if isinstance(self.mtime, int) and not 0 <= self.mtime < 8**11:
            raise AttributeProblem("mtime", f"{self.mtime} is no time that an archive has room for: expected seconds since 1970")

    def layer_outputs(self, context: Context) -> dict[str, Artifact]:
        """The outputs of the rule's action; the layer has the suffix of its compression."""
        suffix = CODECS[self._compression(context).codec].suffix
        return {"layer": context.output(self.provides["layer"] + suffix), "descriptor": context.output(self.provides["descriptor"])}

    def layer_params(self, context: Context) -> dict[str, Value]:
        """The parameters of the rule's action that `enginewright.oci.layer.write_layer` takes: ``compression`` and ``mtime``."""
        mtime = context.defaults.epoch if isinstance(self.mtime, str) else self.mtime
        return {"compression": str(self._compression(context)), "mtime": mtime}

    def layer_packages(self, context: Context) -> tuple[str, ...]:
        """The distributions that compressing takes: their versions are in the action key."""
        return CODECS[self._compression(context).codec].packages

    def _compression(self, context: Context) -> Compression:
        return parse_compression(self.compression or context.defaults.compression)
