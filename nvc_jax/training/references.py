"""Named ways to train a codec without an intra network: what the first packets of clips are predicted from."""

import dataclasses
from collections.abc import Sequence

from nvc_jax.errors import ConfigError
from nvc_jax.training.config import Stage

Shares = tuple[float, float, float]  # see `Stage.references`

# Early and late in a run. `late_blank` is what microsoft/mlvc does, which has no intra network either: a blank picture
# with probability 0.5 in the last 30 % of training (training spec 8); that it is the true one before is inferred.
REFERENCES: dict[str, tuple[Shares, Shares]] = {
    "hybrid": ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    "late_blank": ((0.0, 1.0, 0.0), (1.0, 1.0, 0.0)),
    "blank": ((1.0, 0.0, 0.0), (1.0, 0.0, 0.0)),
}


def with_references(stages: Sequence[Stage], name: str, late: int) -> tuple[Stage, ...]:
    """The stages with the references of a name.

    Args:
        stages: of a run.
        name: a key of `REFERENCES`.
        late: how many stages at the end are late ones.

    Raises:
        ConfigError: there is no such name.
    """
    if name not in REFERENCES:
        raise ConfigError(f"unknown references {name!r}; available: {', '.join(REFERENCES)}.")
    first_late = len(stages) - late
    return tuple(
        dataclasses.replace(stage, references=REFERENCES[name][number >= first_late])
        for number, stage in enumerate(stages)
    )
