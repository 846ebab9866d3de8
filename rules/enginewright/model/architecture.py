"""GPU architectures, and the names people have for them: of a GPU, as ``T4``, or of a family, as ``ampere``."""

from __future__ import annotations

from collections.abc import Iterable

from enginewright.graph.attributes import AttributeProblem, did_you_mean

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_103", "sm_120", "sm_121")

_FAMILIES = {
    "turing": ("sm_75",),
    "ampere": ("sm_80", "sm_86"),
    "ada": ("sm_89",),
    "hopper": ("sm_90",),
    "blackwell": ("sm_100", "sm_120"),
}
"""The architectures of a family's servers and workstations. Orin (sm_87), B300 (sm_103) and GB10 (sm_121) go by their own names."""

_GPUS = {
    "sm_75": ("T4", "RTX 2080 Ti", "Quadro RTX 6000"),
    "sm_80": ("A100", "A30"),
    "sm_86": ("A10", "A10G", "A16", "A2", "A40", "RTX A6000", "RTX 3090"),
    "sm_87": ("Orin",),
    "sm_89": ("L4", "L40", "L40S", "RTX 6000 Ada", "RTX 4090"),
    "sm_90": ("H100", "H200", "GH200"),
    "sm_100": ("B100", "B200", "GB200"),
    "sm_103": ("B300", "GB300"),
    "sm_120": ("RTX PRO 6000", "RTX 5090"),
    "sm_121": ("GB10",),
}

_MEANT = {
    **{arch: (arch,) for arch in ARCHITECTURES},
    **_FAMILIES,
    **{gpu.lower(): (arch,) for arch, gpus in _GPUS.items() for gpu in gpus},
}


def resolve(names: Iterable[str], attribute: str) -> tuple[str, ...]:
    """The architectures that names stand for, in their order; upper and lower case are the same.

    Raises AttributeProblem, for ``attribute``, where a name is not known, or two mean the same architecture.
    """
    spelled: dict[str, str] = {}
    for name in names:
        if name.lower() not in _MEANT:
            raise AttributeProblem(attribute, f"{name!r} is no architecture, GPU or family that is known{_nearest(name)}")
        for arch in _MEANT[name.lower()]:
            if arch in spelled:
                both = f"{name!r} is listed twice" if spelled[arch] == name else f"{spelled[arch]!r} and {name!r} both mean {arch}"
                raise AttributeProblem(attribute, f"{both}: leave one out")
            spelled[arch] = name
    return tuple(spelled)


def _nearest(name: str) -> str:
    near = did_you_mean(name.lower(), _MEANT)
    return near if near.startswith(" (did") else f" (there are: {', '.join((*ARCHITECTURES, *_FAMILIES))}, and GPUs, as 'T4' or 'A100')"
