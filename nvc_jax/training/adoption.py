"""Start from a model of another architecture: what fits is taken, the rest is initialised."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from nvc_jax.models.params import ParamTree, flatten, unflatten


class Adopted(NamedTuple):
    """Parameters of which some come from another model.

    Attributes:
        params: a tree by the name of each network.
        taken: flat names of those that were taken, `inter/decoder_up/kernel`.
        fresh: flat names of the others, which keep their initial values.
    """

    params: dict[str, ParamTree]
    taken: tuple[str, ...]
    fresh: tuple[str, ...]

    def lines(self, source: str) -> Iterator[str]:
        """Say in one or two lines what was taken from `source` and what was not."""
        flat = flatten(self.params)
        counts = [sum(np.size(flat[name]) for name in names) for names in (self.taken, self.taken + self.fresh)]
        share, whole = (f"{count:,}" for count in counts)
        yield f"{share} of {whole} parameters are those of {source}" + (", initialised are" if self.fresh else "")
        if self.fresh:
            partly = _stacks(self.fresh) & _stacks(self.taken)
            names = [f"{name} in part" if name in partly else name for name in _in_order(map(_stack, self.fresh))]
            yield ", ".join(names)


def adopt(params: ParamTree, source: ParamTree) -> Adopted:
    """Take the parameters of another model whose path and shape agree.

    Blocks of a stack are named by their number, so a stack of k blocks takes the first k of a longer one: the first has
    the adaptor to the stack's width. A block with a narrower FFN takes what is outside of it.

    Args:
        params: initial values, a tree by the name of each network.
        source: the trees of the other model.
    """
    mine, theirs = flatten(params), flatten(source)
    taken = {
        name: theirs[name] for name, leaf in mine.items() if name in theirs and np.shape(theirs[name]) == np.shape(leaf)
    }
    return Adopted(unflatten(mine | taken), tuple(taken), tuple(name for name in mine if name not in taken))


def _stack(name: str) -> str:
    """Shorten a flat name to network and module, the blocks of a stack together."""
    return re.sub(r"_\d+$", "", "/".join(name.split("/")[:2]))


def _stacks(names: Iterable[str]) -> set[str]:
    return set(map(_stack, names))


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
