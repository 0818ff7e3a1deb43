"""The search itself, on numbers: frontiers of modules, their product, and the most efficient architecture.

Speed-ups are ratios of times, 1.6 for 60 %. Losses are BD-rates against the teacher in percent.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

from nvc_jax.errors import ConfigError

LEAST_LOSS = 0.1  # percent; smaller sums, and negative ones, count as this: they are within the noise of short training


@dataclasses.dataclass(frozen=True)
class Option:
    """A measured variant of a module.

    Attributes:
        module: which one.
        name: of the variant.
        saved: share of the teacher's decoding time that it saves.
        loss: BD-rate with it alone.
    """

    module: str
    name: str
    saved: float
    loss: float

    @property
    def speedup(self) -> float:
        """Ratio of decoding times, with this variant alone."""
        return speedup(self.saved)


def speedup(saved: float) -> float:
    """Ratio of times when a share of the time, below 1, is saved."""
    return 1.0 / (1.0 - saved)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A whole candidate: one option of each module, and what they predict together."""

    options: tuple[Option, ...]

    @property
    def label(self) -> str:
        """Names of the variants, in the order of the modules."""
        return "; ".join(option.name for option in self.options)

    @property
    def saved(self) -> float:
        """Sum of the shares of time."""
        return sum(option.saved for option in self.options)

    @property
    def speedup(self) -> float:
        """Predicted from the times of modules."""
        return speedup(self.saved)

    @property
    def loss(self) -> float:
        """Predicted: losses of modules add up."""
        return sum(option.loss for option in self.options)

    @property
    def efficiency(self) -> float:
        """Acceleration efficiency eta: speed-up per loss."""
        return self.speedup / max(self.loss, LEAST_LOSS)


def frontier(options: Iterable[Option]) -> list[Option]:
    """The Pareto frontier: those to which no other is at least equal in both and better in one, slowest first."""
    fastest_first = sorted(options, key=lambda option: (-option.saved, option.loss))
    found: list[Option] = []
    for option in fastest_first:
        if not found or option.loss < found[-1].loss:
            found.append(option)
    return found[::-1]


def product(frontiers: Mapping[str, Sequence[Option]]) -> list[Architecture]:
    """All architectures that take an option of each frontier, but those whose modules save all of the time or more.

    Modules that are timed by themselves may add up to more than the whole, which predicts nothing.
    """
    architectures = map(Architecture, itertools.product(*frontiers.values()))
    return [architecture for architecture in architectures if architecture.saved < 1]


def choose(architectures: Sequence[Architecture], target: float) -> Architecture:
    """The architecture of the largest efficiency among those that are fast enough.

    Args:
        architectures: at least one.
        target: least speed-up, 1.6 for 60 %.

    Raises:
        ConfigError: none reaches the target.
    """
    enough = [architecture for architecture in architectures if architecture.speedup >= target]
    if not enough:
        largest = max(architectures, key=lambda architecture: architecture.speedup)
        raise ConfigError(
            f"no architecture decodes {100 * (target - 1):.0f} % faster than the teacher; the fastest, "
            f"{largest.label}, is {100 * (largest.speedup - 1):.0f} % faster."
        )
    return max(enough, key=lambda architecture: (architecture.efficiency, -architecture.loss))


def spread(architectures: Sequence[Architecture], count: int, first: Sequence[Architecture]) -> list[Architecture]:
    """Architectures to check a prediction on: given ones, then others spread over the predicted losses.

    Args:
        architectures: to choose from; those with fewer than two smaller modules predict nothing.
        count: how many, at most.
        first: given ones.
    """
    chosen = list(dict.fromkeys(first))[:count]
    rest = [a for a in architectures if a not in chosen and sum(option.saved != 0 for option in a.options) > 1]
    rest.sort(key=lambda architecture: architecture.loss)
    left = min(count - len(chosen), len(rest))
    places = [round((number + 0.5) * len(rest) / left - 0.5) for number in range(left)]
    return chosen + [rest[place] for place in dict.fromkeys(places)]


def pairs_in_order(predicted: Sequence[float], measured: Sequence[float]) -> tuple[int, int]:
    """Pairs that two lists put in the same order, and all pairs."""
    pairs = list(itertools.combinations(zip(predicted, measured, strict=True), 2))
    return sum((a[0] - b[0]) * (a[1] - b[1]) > 0 for a, b in pairs), len(pairs)
