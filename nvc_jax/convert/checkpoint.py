"""Convert official state_dicts to parameter trees and back."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nvc_jax.convert.names import official_tensors
from nvc_jax.errors import CheckpointError
from nvc_jax.models.codecs import CONFIGS
from nvc_jax.models.config import CodecConfig, InterConfig, IntraConfig
from nvc_jax.models.params import ParamTree, flatten, unflatten

StateDict = Mapping[str, npt.NDArray[Any]]

_KINDS = {"intra": "image", "inter": "video"}


def is_official(config: CodecConfig) -> bool:
    """True for a codec whose networks the official code has."""
    return {name: type(network) for name, network in config.networks} == {"intra": IntraConfig, "inter": InterConfig}


def params_from_official(config: CodecConfig, image: StateDict, video: StateDict) -> dict[str, ParamTree]:
    """Build the parameters of `config` from the state_dicts of the official image and video models.

    Raises:
        CheckpointError: tensors are missing, unexpected, of another shape, or hold NaN or infinity. A note lists all.
    """
    if not is_official(config):
        raise _unofficial(config)
    given = {"intra": image, "inter": video}
    if problems := _problems(config, given):
        raise _misfit(config, given, problems)
    tensors = official_tensors(config)
    with np.errstate(over="ignore"):  # reported below
        arrays = {ours: given[t.model][t.name].astype(np.float32) for ours, t in tensors.items()}
    broken = [tensors[ours] for ours, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise CheckpointError(
            f"{len(broken)} of {len(tensors)} tensors have NaN or infinity in them, e.g. {broken[0].name} in the "
            f"{_KINDS[broken[0].model]} checkpoint; the training that wrote it has diverged, take an earlier checkpoint"
        )
    return unflatten({ours: tensors[ours].to_ours(array) for ours, array in arrays.items()})


def _problems(config: CodecConfig, given: Mapping[str, StateDict]) -> dict[str, list[str]]:
    """List the tensors that do not fit, by what is wrong with them."""
    problems: dict[str, list[str]] = {"missing": [], "unexpected": [], "of another shape": []}
    tensors = official_tensors(config).values()
    for model, state_dict in given.items():
        expected = {tensor.name: tensor.shape for tensor in tensors if tensor.model == model}
        where = f"in the {_KINDS[model]} checkpoint: "
        problems["missing"] += [where + name for name in sorted(expected.keys() - state_dict.keys())]
        problems["unexpected"] += [where + name for name in sorted(state_dict.keys() - expected.keys())]
        problems["of another shape"] += [
            f"{where}{name} is {list(state_dict[name].shape)}, not {list(shape)}"
            for name, shape in expected.items()
            if name in state_dict and state_dict[name].shape != shape
        ]
    return {what: found for what, found in problems.items() if found}


def _misfit(config: CodecConfig, given: Mapping[str, StateDict], problems: Mapping[str, list[str]]) -> CheckpointError:
    """Say what is wrong in one sentence; all tensors are in a note, which tracebacks show."""
    kinds = {model: _kind(config, model, state_dict) for model, state_dict in given.items()}
    official = [other.name for other in CONFIGS.values() if is_official(other) and not _problems(other, given)]
    if kinds == {"intra": "inter", "inter": "intra"}:
        text = "the two checkpoints are swapped; give that of the image model first"
    elif len(set(kinds.values())) == 1:
        text = f"both files are of the {_KINDS[kinds['intra']]} model; give one of the image and one of the video model"
    elif official:
        text = f"the checkpoints are of the architecture {official[0]}, not {config.name}"
    else:
        counts = ", ".join(f"{len(found)} {what}" for what, found in problems.items())
        what, (example, *_) = next(iter(problems.items()))
        text = (
            f"the checkpoints do not fit the codec {config.name!r} (tensors: {counts}), e.g. {what} {example}; "
            "the traceback lists all"
        )
    error = CheckpointError(text)
    error.add_note("\n".join(f"{what} {tensor}" for what, found in problems.items() for tensor in found))
    return error


def _kind(config: CodecConfig, model: str, state_dict: StateDict) -> str:
    """Guess the model of a checkpoint from the names of its tensors; `model` unless more are of the other."""
    names = Counter(t.model for t in official_tensors(config).values() if t.name in state_dict)
    return max((model, *names), key=lambda name: names[name])


def _unofficial(config: CodecConfig) -> CheckpointError:
    return CheckpointError(f"the codec {config.name!r} has other networks than DCVC-RT, and no official checkpoints")


def params_to_official(
    config: CodecConfig, params: ParamTree
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, npt.NDArray[np.float32]]]:
    """Build the state_dicts of the official image and video models from parameters.

    Raises:
        CheckpointError: the official code does not have such networks.
    """
    if not is_official(config):
        raise _unofficial(config)
    flat = flatten(params)
    out: dict[str, dict[str, npt.NDArray[np.float32]]] = {"intra": {}, "inter": {}}
    for ours, tensor in official_tensors(config).items():
        out[tensor.model][tensor.name] = tensor.from_ours(np.asarray(flat[ours], np.float32))
    return out["intra"], out["inter"]
