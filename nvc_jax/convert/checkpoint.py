"""Convert official state_dicts to parameter trees and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nvc_jax.convert.names import official_tensors
from nvc_jax.errors import CheckpointError
from nvc_jax.models.config import CodecConfig, InterConfig, IntraConfig
from nvc_jax.models.params import ParamTree, flatten, unflatten

StateDict = Mapping[str, npt.NDArray[Any]]

_FILES = {"intra": "image checkpoint", "inter": "video checkpoint"}


def is_official(config: CodecConfig) -> bool:
    """True for a codec whose networks the official code has."""
    return {name: type(network) for name, network in config.networks} == {"intra": IntraConfig, "inter": InterConfig}


def params_from_official(config: CodecConfig, image: StateDict, video: StateDict) -> dict[str, ParamTree]:
    """Build the parameters of `config` from the state_dicts of the official image and video models.

    Raises:
        CheckpointError: tensors are missing, unexpected, have shape mismatches (all are listed), or are not finite.
    """
    given = {"intra": image, "inter": video}
    tensors = official_tensors(config)
    problems = []
    for model, state_dict in given.items():
        expected = {t.name: t.shape for t in tensors.values() if t.model == model}
        missing = sorted(expected.keys() - state_dict.keys())
        extra = sorted(state_dict.keys() - expected.keys())
        misfit = [
            f"{name} is {list(state_dict[name].shape)}, not {list(shape)}"
            for name, shape in expected.items()
            if name in state_dict and state_dict[name].shape != shape
        ]
        for label, names in (("missing", missing), ("unexpected", extra), ("with a shape mismatch", misfit)):
            if names:
                problems.append(f"{len(names)} tensors {label} in the {_FILES[model]}: {', '.join(names)}")
    if problems:
        raise CheckpointError(f"the checkpoints do not fit the codec {config.name!r}: {'; '.join(problems)}")
    for model, state_dict in given.items():
        names = [t.name for t in tensors.values() if t.model == model]
        broken = [name for name in names if not np.isfinite(state_dict[name]).all()]
        if broken:
            raise CheckpointError(
                f"{len(broken)} of {len(names)} tensors in the {_FILES[model]} have values that are not finite, "
                f"e.g. {broken[0]}; the training that wrote it has diverged, take an earlier checkpoint"
            )
    return unflatten({ours: t.to_ours(given[t.model][t.name].astype(np.float32)) for ours, t in tensors.items()})


def params_to_official(
    config: CodecConfig, params: ParamTree
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, npt.NDArray[np.float32]]]:
    """Build the state_dicts of the official image and video models from parameters.

    Raises:
        CheckpointError: the official code does not have such networks.
    """
    if not is_official(config):
        raise CheckpointError(
            f"the codec {config.name!r} has other networks than DCVC-RT, and no official checkpoints."
        )
    flat = flatten(params)
    out: dict[str, dict[str, npt.NDArray[np.float32]]] = {"intra": {}, "inter": {}}
    for ours, tensor in official_tensors(config).items():
        out[tensor.model][tensor.name] = tensor.from_ours(np.asarray(flat[ours], np.float32))
    return out["intra"], out["inter"]
