"""Start values of a smaller module: the parts of the teacher's weights that matter most.

Whole blocks and parameters of unchanged shape are the teacher's (`training/adoption.py`). Where channels or the FFN
become fewer, those are kept whose weights have the largest norms: of the stream between blocks by the weights of the
layers that read it, of the inside of a block by the products of the norms on their way. Random values instead would
need thousands of steps before candidates could be compared.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nvc_jax.models.config import CodecConfig, InterConfig, Stack
from nvc_jax.models.params import ParamTree, flatten, initialise, unflatten
from nvc_jax.search.variants import INTER, inter_of
from nvc_jax.training.adoption import Adopted, adopt

Index = npt.NDArray[np.intp]
Flat = dict[str, npt.NDArray[np.float32]]

_NAMES = {
    "extractor_prior": "extractor_prior",
    "extractor_context": "extractor_context",
    "decoder": "decoder_blocks",
    "recon": "recon_blocks",
}
_DOWN = 4  # positions that `Down2` puts into channels, the order is (channel, position)


def inherit(teacher: CodecConfig, source: ParamTree, student: CodecConfig, seed: int, slices: bool = True) -> Adopted:
    """Parameters of a student to start from; slices count as taken.

    Args:
        teacher: architecture of the source.
        source: trained parameters.
        student: architecture with other modules (`variants.swapped`).
        seed: of values that come from nowhere.
        slices: keep parts of the weights where shapes differ; otherwise they are random.
    """
    random = initialise(student, seed)
    adopted = adopt(random, source)
    if not slices:
        return adopted
    before, after = inter_of(teacher), inter_of(student)
    flat = flatten(adopted.params)
    sliced = {f"{INTER}/{name}": value for name, value in _sliced(before, after, _network(source)).items()}
    sliced = {name: value for name, value in sliced.items() if name in flat and np.shape(flat[name]) == value.shape}
    taken = {*adopted.taken, *sliced}
    own, fresh = (tuple(name for name in flat if (name in taken) == theirs) for theirs in (True, False))
    return Adopted(unflatten(flat | sliced), own, fresh)


def _network(source: ParamTree) -> Flat:
    return {name: np.asarray(leaf) for name, leaf in flatten(source[INTER]).items()}


@dataclasses.dataclass(frozen=True)
class _Streams:
    """Channels that are kept of what passes between modules."""

    prior: Index
    context: Index
    decoder: Index
    recon: Index


def _sliced(before: InterConfig, after: InterConfig, theirs: Flat) -> Flat:
    """All parameters that change where channels are left out, by their names in the network."""
    width = before.width
    streams = _streams(before, after, theirs)
    every = np.arange(width)
    with_context = np.concatenate([every, width + streams.context])  # a picture or a latent, then the context
    inputs = {
        "extractor_prior": (every, streams.prior),
        "extractor_context": (streams.prior, streams.context),
        "decoder": (with_context, streams.decoder),
        "recon": (every, streams.recon),
    }
    found: Flat = {}
    for field, (reads, stream) in inputs.items():
        own, new = getattr(before, field), getattr(after, field)
        if new.blocks <= own.blocks:
            for number in range(new.blocks):
                name = f"{_NAMES[field]}_{number}"
                block = {
                    key.removeprefix(f"{name}/"): leaf for key, leaf in theirs.items() if key.startswith(f"{name}/")
                }
                sliced = _block(block, own, new, reads if number == 0 else stream, stream)
                found |= {f"{name}/{key}": leaf for key, leaf in sliced.items()}
    down = (_DOWN * streams.prior[:, None] + np.arange(_DOWN)).ravel()
    for name, rows in (
        ("temporal_prior/down/kernel", down),
        ("encoder_blocks_0/adaptor/kernel", with_context),
        ("decoder_out/kernel", streams.decoder),
        ("recon_out/kernel", streams.recon),
    ):
        if name in theirs:
            found[name] = theirs[name][rows]
    found["q_feature/vectors"] = theirs["q_feature/vectors"][:, streams.prior]
    found["q_recon/vectors"] = theirs["q_recon/vectors"][:, streams.recon]
    return found


def _streams(before: InterConfig, after: InterConfig, theirs: Flat) -> _Streams:
    width = before.width
    norms = np.zeros(before.extractor_context.width, np.float32)
    for name in ("encoder_blocks_0/adaptor/kernel", "decoder_blocks_0/adaptor/kernel"):
        if name in theirs:  # none where a stack is as wide as its input
            norms += np.square(theirs[name][width:]).sum(axis=1)
    context = _largest(norms, after.extractor_context.width)
    same = before.extractor_prior.width == before.extractor_context.width
    same = same and after.extractor_prior.width == after.extractor_context.width
    prior = context if same else np.arange(min(after.extractor_prior.width, before.extractor_prior.width))
    gains = np.square(theirs["q_recon/vectors"]).mean(axis=0)
    recon = _largest(gains * np.square(theirs["recon_out/kernel"]).sum(axis=1), after.recon.width)
    decoder = _largest(np.square(theirs["decoder_out/kernel"]).sum(axis=1), after.decoder.width)
    return _Streams(prior, context, decoder, recon)


def _block(block: Mapping[str, Any], own: Stack, new: Stack, reads: Index, stream: Index) -> Flat:
    """The parameters of a DC block with fewer channels.

    Args:
        block: the teacher's.
        own: its stack.
        new: the student's stack.
        reads: channels of its input that are left.
        stream: channels of its output that are left.
    """
    found: Flat = {}
    if "adaptor/kernel" in block:
        found |= _layer(block, "adaptor/kernel", "adaptor/bias", reads, stream)
    else:  # the student may need one, to choose among the channels
        found["adaptor/kernel"] = (reads[:, None] == stream).astype(np.float32)
        found["adaptor/bias"] = np.zeros(len(stream), np.float32)
    ways = _norms(block["pointwise_in/kernel"], 0), _norms(block["depthwise/kernel"], (0, 1))
    inside = _largest(ways[0] * ways[1] * _norms(block["pointwise_out/kernel"], 1), new.width)
    found |= _layer(block, "pointwise_in/kernel", "pointwise_in/bias", stream, inside)
    found["depthwise/kernel"] = block["depthwise/kernel"][..., inside]
    found["depthwise/bias"] = block["depthwise/bias"][inside]
    found |= _layer(block, "pointwise_out/kernel", "pointwise_out/bias", inside, stream)
    half = own.middle * own.width // 2  # two halves are added between the layers of the FFN
    halves = np.hypot(*np.split(_norms(block["ffn/kernel_in"], 0), 2))
    middle = _largest(halves * _norms(block["ffn/kernel_out"], 1), new.middle * new.width // 2)
    found |= _layer(block, "ffn/kernel_in", "ffn/bias_in", stream, np.concatenate([middle, half + middle]))
    return found | _layer(block, "ffn/kernel_out", "ffn/bias_out", middle, stream)


def _layer(block: Mapping[str, Any], kernel: str, bias: str, rows: Index, columns: Index) -> Flat:
    return {kernel: block[kernel][np.ix_(rows, columns)], bias: block[bias][columns]}


def _norms(kernel: npt.NDArray[np.float32], axis: int | tuple[int, ...]) -> Any:
    return np.sqrt(np.square(kernel).sum(axis=axis))


def _largest(values: Any, count: int) -> Index:
    """Places of the largest values, in their order."""
    return np.sort(np.argsort(-np.asarray(values), kind="stable")[:count])
