"""Smaller variants of the modules that decode, as data: a name and a function from stacks to stacks (spec kd_nvc).

L is the share of DC blocks that is kept, C that of channels, F that of the FFN's width.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

from nvc_jax.errors import ConfigError
from nvc_jax.models.config import CodecConfig, InterConfig, Stack

Stacks = tuple[Stack, ...]
Reduction = Callable[[Stacks], Stacks]

INTER = "inter"
WHOLE = "whole"  # name of the teacher's own module

# The modules that are searched, and the stacks of each. The entropy model is left out, because it is too sensitive.
MODULES: dict[str, tuple[str, ...]] = {
    "extractor": ("extractor_prior", "extractor_context"),
    "decoder": ("decoder",),
    "reconstruction": ("recon",),
}

HALF, QUARTER = Fraction(1, 2), Fraction(1, 4)
ONE_THIRD, TWO_THIRDS = Fraction(1, 3), Fraction(2, 3)


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to make a module smaller.

    Attributes:
        name: as in the paper.
        reduce: from the stacks of the teacher's module to those of the variant.
    """

    name: str
    reduce: Reduction


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A module of one teacher in one variant.

    Attributes:
        module: a key of `MODULES`.
        name: of the variant, the first one where several give the same stacks.
        also: names of the others.
        stacks: of the module.
    """

    module: str
    name: str
    also: tuple[str, ...]
    stacks: Stacks

    @property
    def label(self) -> str:
        """All names."""
        return " = ".join((self.name, *self.also))


def kept(count: int, share: Fraction) -> int:
    """Blocks that are kept: the nearest number, at least one."""
    return max(1, math.floor(count * share + HALF))


def blocks(share: Fraction) -> Reduction:
    """Keep a share of the DC blocks of every stack."""
    return lambda stacks: tuple(dataclasses.replace(stack, blocks=kept(stack.blocks, share)) for stack in stacks)


def last_blocks(share: Fraction) -> Reduction:
    """Keep a share of the DC blocks of the last stack and all of those before.

    Inferred: "1/2 L" of the extractor, as the totals of the paper have it (2 and 2 blocks of 2 and 4).
    """
    return lambda stacks: (*stacks[:-1], *blocks(share)(stacks[-1:]))


def split_blocks(share: Fraction, ratio: tuple[int, int]) -> Reduction:
    """Keep a share of the DC blocks of two stacks, divided between them in a ratio, at least one in each."""

    def reduce(stacks: Stacks) -> Stacks:
        first, second = stacks
        count = max(2, kept(first.blocks + second.blocks, share))
        ahead = min(count - 1, kept(count, Fraction(ratio[0], sum(ratio))))
        return dataclasses.replace(first, blocks=ahead), dataclasses.replace(second, blocks=count - ahead)

    return reduce


def channels(share: Fraction) -> Reduction:
    """Keep a share of the channels of every stack.

    Raises ConfigError where it is no whole number of channels.
    """

    def one(stack: Stack) -> Stack:
        width = stack.width * share
        if width.denominator != 1:
            raise ConfigError(f"{share} of {stack.width} channels is no whole number.")
        return dataclasses.replace(stack, width=int(width))

    return lambda stacks: tuple(map(one, stacks))


def middles(share: Fraction) -> Reduction:
    """Keep a share of the FFN's width in every stack.

    Raises ConfigError where a DC block cannot have it.
    """

    def one(stack: Stack) -> Stack:
        middle = stack.middle * share
        if middle.denominator != 1:
            raise ConfigError(f"{share} of an FFN of {stack.middle} times the width is below the narrowest, 1.")
        return dataclasses.replace(stack, middle=int(middle))

    return lambda stacks: tuple(map(one, stacks))


def both(first: Reduction, second: Reduction) -> Reduction:
    """Apply one after the other."""
    return lambda stacks: second(first(stacks))


VARIANTS: dict[str, tuple[Variant, ...]] = {
    "extractor": (
        Variant("1/2 L", last_blocks(HALF)),
        Variant("1/2 L (2:1)", split_blocks(HALF, (2, 1))),
        Variant("1/2 L (1:2)", split_blocks(HALF, (1, 2))),
        Variant("1/2 C", channels(HALF)),
        Variant("1/4 C", channels(QUARTER)),
        Variant("1/4 F", middles(QUARTER)),
        Variant("1/2 L 1/2 F", both(last_blocks(HALF), middles(HALF))),
    ),
    "decoder": (
        Variant("2/3 L", blocks(TWO_THIRDS)),
        Variant("1/3 L", blocks(ONE_THIRD)),
        Variant("1/2 C", channels(HALF)),
        Variant("1/2 F", middles(HALF)),
        Variant("2/3 L 1/2 F", both(blocks(TWO_THIRDS), middles(HALF))),
        Variant("1/3 L 1/2 F", both(blocks(ONE_THIRD), middles(HALF))),
    ),
    "reconstruction": (
        Variant("1/2 C", channels(HALF)),
        Variant("1/4 C", channels(QUARTER)),
        Variant("1/4 F", middles(QUARTER)),
        Variant("1/2 L 1/2 C", both(blocks(HALF), channels(HALF))),
        Variant("1/2 L 1/2 F", both(blocks(HALF), middles(HALF))),
    ),
}

# Choices of the paper for its targets of about 60 and 100 % (KD-NVC-S and KD-NVC-T).
PAPER = {
    "KD-NVC-S": {"extractor": "1/2 L", "decoder": "1/3 L", "reconstruction": "1/2 C"},
    "KD-NVC-T": {"extractor": "1/2 L 1/2 F", "decoder": "1/3 L 1/2 F", "reconstruction": "1/2 L 1/2 C"},
}


def inter_of(codec: CodecConfig) -> InterConfig:
    """The network of a codec whose modules are searched.

    Raises:
        ConfigError: it has none.
    """
    network = dict(codec.networks).get(INTER)
    if not isinstance(network, InterConfig):
        names = ", ".join(name for name, _ in codec.networks)
        raise ConfigError(f"the codec {codec.name} has no network {INTER!r} to make smaller; it has {names}.")
    return network


def stacks_of(network: InterConfig, module: str) -> Stacks:
    """The stacks of a module of `MODULES`."""
    return tuple(getattr(network, field) for field in MODULES[module])


def candidates(
    codec: CodecConfig, variants: Mapping[str, Iterable[Variant]] = VARIANTS
) -> tuple[list[Candidate], list[str]]:
    """Apply all variants to the modules of a codec.

    Args:
        codec: the teacher.
        variants: by module.

    Returns:
        The candidates that differ from each other and from the teacher, and sentences about the other variants.

    Raises:
        ConfigError: the codec has no network to search.
    """
    network = inter_of(codec)
    found: list[Candidate] = []
    notes = []
    for module, choices in variants.items():
        own = stacks_of(network, module)
        names: dict[Stacks, list[str]] = {}
        for variant in choices:
            try:
                names.setdefault(variant.reduce(own), []).append(variant.name)
            except ConfigError as error:
                notes.append(f"{module} {variant.name} is left out: {error}")
        if same := names.pop(own, None):
            notes.append(f"{module} {', '.join(same)} is left out: {codec.name} has no smaller number of blocks.")
        for stacks, (first, *others) in names.items():
            found.append(Candidate(module, first, tuple(others), stacks))
            if others:
                notes.append(f"{module} {first} and {', '.join(others)} are one candidate of {codec.name}.")
    return found, notes


def named(found: Iterable[Candidate], module: str, name: str) -> Candidate:
    """The candidate of a module by any of its names.

    Raises:
        ConfigError: there is none.
    """
    of_module = [candidate for candidate in found if candidate.module == module]
    for candidate in of_module:
        if name in (candidate.name, *candidate.also):
            return candidate
    known = ", ".join(candidate.label for candidate in of_module)
    raise ConfigError(f"the {module} has no candidate {name!r}; it has {known}.")


def swapped(codec: CodecConfig, chosen: Iterable[Candidate], name: str | None = None) -> CodecConfig:
    """The codec with other modules.

    Args:
        codec: the teacher.
        chosen: at most one candidate of each module.
        name: of the new codec; by default the teacher's.

    Raises:
        ConfigError: the codec has no network to search.
    """
    fields: dict[str, Any] = {}
    for candidate in chosen:
        fields |= zip(MODULES[candidate.module], candidate.stacks, strict=True)
    student = codec.replace(INTER, dataclasses.replace(inter_of(codec), **fields))
    return dataclasses.replace(student, name=name or codec.name)


def uniform(codec: CodecConfig, share: Fraction) -> list[Candidate]:
    """Every module with the same share of its channels: what a search is compared with.

    Raises:
        ConfigError: the codec has no network to search, or the share does not come out.
    """
    variant = Variant(f"{share} C", channels(share))
    network = inter_of(codec)
    return [Candidate(module, variant.name, (), variant.reduce(stacks_of(network, module))) for module in MODULES]
