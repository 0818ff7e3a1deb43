"""One training step: a pure function of the state and a batch, the same on one device and on many."""

import dataclasses
import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from nvc_jax.codec.floats import XLA
from nvc_jax.models.network import Network, State
from nvc_jax.models.networks import networks
from nvc_jax.models.params import ParamTree
from nvc_jax.spec import QP_LEVELS
from nvc_jax.training.clips import Clips, Weighting, prepare
from nvc_jax.training.config import PICTURES, Loss, Stage, Teacher, TrainConfig
from nvc_jax.training.data import Batch
from nvc_jax.training.distillation import compared, differences
from nvc_jax.training.forward import Coded, PacketInput, code_packet, code_packets, training_strategy
from nvc_jax.training.losses import distortion
from nvc_jax.training.optimiser import Packing, clipped, direction, global_norm, learning_rate, share_rows
from nvc_jax.training.rounding import straight_through

BUCKETS = 4  # of qps, in which rates and errors are logged

Metrics = dict[str, Array]
Tree = Any


@flax.struct.dataclass
class TrainState:
    """The values that a step changes, and the key it draws from.

    Attributes:
        step: batches so far.
        params: by network, as `Packing` keeps them, float32.
        moments: state of the optimiser for each of them.
        average: moving average of `params`; None if there is none.
        skipped: updates without a finite gradient so far.
        bad: such steps in a row.
        key: data of the random key; the same in all steps.
    """

    step: Array
    params: dict[str, Tree]
    moments: dict[str, Tree]
    average: dict[str, Tree] | None
    skipped: Array
    bad: Array
    key: Array


@flax.struct.dataclass
class Terms:
    """Costs of a coded packet per sample, all [B].

    Attributes:
        loss: lambda * weight * distortion + bpp, balanced, mean over its pictures; plus that of distillation.
        bpp_y: bits of y per pixel.
        bpp_z: the same for z.
        bpp_side: the same for side information.
        mse_y: of luma, for PSNR.
        differences: from the teacher, by what is compared; empty without one.
    """

    loss: Array
    bpp_y: Array
    bpp_z: Array
    bpp_side: Array
    mse_y: Array
    differences: dict[str, Array]


def terms(loss: Loss, coded: Coded, packet: PacketInput, teacher: Teacher, distil: float) -> Terms:
    """Rate and distortion of a coded packet, and its distance from the teacher's.

    Args:
        loss: settings.
        coded: packet.
        packet: its input.
        teacher: settings.
        distil: see `Stage`.
    """
    weighting: Weighting = packet.aux
    _, count, height, width, _ = packet.pictures.shape
    samples = height * width * count
    errors = jax.vmap(distortion, 1, 1)(coded.pictures, packet.pictures)
    weighted = weighting.lambda_ * weighting.weight * errors + coded.bits[:, None] / samples
    total, found = (weighted * weighting.lambda_**-loss.balance).mean(axis=1), {}
    if weighting.lesson is not None:
        found = differences(compared(teacher, coded.features or {}, coded.pictures), weighting.lesson)
        distance = jnp.stack(list(found.values())).sum(axis=0)
        if teacher.kind == PICTURES:
            distance *= (weighting.lambda_ ** (1.0 - loss.balance) * weighting.weight).mean(axis=1)
        total += distil * distance
    return Terms(
        loss=total,
        bpp_y=coded.bits_y / samples,
        bpp_z=coded.bits_z / samples,
        bpp_side=coded.bits_side / samples,
        mse_y=jnp.square(coded.pictures - packet.pictures)[..., 0].mean(axis=(1, 2, 3)),
        differences=found,
    )


@dataclasses.dataclass(frozen=True)
class Step:
    """The training step of a stage.

    Attributes:
        config: the run.
        stage: part of it.
        start: batches before the stage.
        packing: how parameters are kept.
        axis: name of the mapped axis over devices; None on a single one.
        teacher: the network of the teacher; None without one.
    """

    config: TrainConfig
    stage: Stage
    start: int | Array | np.int32
    packing: Packing
    axis: str | None = None
    teacher: Network | None = None

    def __call__(
        self, state: TrainState, batch: Batch, position: Array | None = None, teacher: ParamTree | None = None
    ) -> tuple[TrainState, Metrics]:
        """Update the parameters with a batch.

        Args:
            state: of the run.
            batch: clips.
            position: see `learning_rate`.
            teacher: parameters of the teacher's network.

        Returns:
            The new state, and metrics, all scalars.
        """
        clips = prepare(self.config, self.stage, batch, jax.random.wrap_key_data(state.key))
        rate = learning_rate(self.stage, state.step - self.start, position)
        old = state
        if self.stage.mode == "plain":
            state, by_network, norms = self._plain(state, clips, rate, teacher)
        else:
            gradients, by_network = self.gradients(state.params, clips, teacher)
            state, norms = self._update(state, gradients, rate)
        bad = jnp.where(jnp.isfinite(norms).all(), 0, old.bad + 1)
        average = state.average
        if average is not None:
            decay = self.config.average_decay
            average = jax.tree.map(lambda a, p: a + (1.0 - decay) * (p - a), average, state.params)
        state = dataclasses.replace(state, step=state.step + 1, average=average, bad=bad)
        return state, {
            **self._metrics(by_network, clips.qp),
            "learning_rate": rate,
            "gradient_norm": jnp.mean(norms),
            "skipped": state.skipped,
            "bad": bad,
        }

    def gradients(
        self, params: dict[str, Tree], clips: Clips, teacher: ParamTree | None = None
    ) -> tuple[dict[str, Tree], dict[str, Terms]]:
        """Gradients of the mean loss of all clips of all devices, and the terms of the packets of this one."""

        def loss(trained: dict[str, Tree]) -> tuple[Array, dict[str, Terms]]:
            by_network = self._code(params | trained, clips, teacher)
            losses = [by_network[part].loss for part in self.trained]
            return jnp.concatenate(losses).mean(), by_network

        trained = {part: params[part] for part in self.trained}
        gradients, by_network = jax.grad(loss, has_aux=True)(trained)
        return self._mean(gradients), by_network

    @property
    def trained(self) -> tuple[str, ...]:
        """Networks that the stage updates."""
        return self.config.trained(self.stage)

    def _unpacked(self, params: dict[str, Tree], part: str) -> ParamTree:
        tree = self.packing.unpack(part, params[part])
        if self.stage.rounded:
            tree = straight_through(tree, self.config.significant_bits, self.config.int8_kernels)
        return share_rows(tree, self.config.optimiser.row_reach)

    def _code_one(self, part: str, tree: ParamTree, state: State, packet: PacketInput) -> tuple[Coded, Terms]:
        config = self.config
        coded = self._coded(networks(config.codec)[part], tree, state, packet, packet.aux.lesson is not None)
        return coded, terms(config.loss, coded, packet, config.teacher, self.stage.distil)

    def _coded(self, network: Network, tree: ParamTree, state: State, packet: PacketInput, observe: bool) -> Coded:
        precision = self.config.precision
        strategy = XLA if self.config.strategy == XLA else training_strategy(precision)
        return code_packet(network, tree, packet, state, precision, strategy, self.stage.skip, observe)

    def _with_lessons(self, teacher: ParamTree | None, packets: PacketInput, first: Array) -> PacketInput:
        """Add what the teacher makes of packets that begin after the pictures `first`. It rounds, without noise."""
        network = self.teacher
        if teacher is None or network is None:
            return packets
        tree = teacher

        def code_one(_: None, state: State, packet: PacketInput) -> tuple[None, Coded, dict[str, Array]]:
            coded = self._coded(network, tree, state, packet, observe=True)
            lesson = compared(self.config.teacher, coded.features or {}, coded.pictures)
            return None, dataclasses.replace(coded, features=None), lesson

        rounded = dataclasses.replace(packets, keys=None)
        settings = self.stage.refresh, self.config.precision
        _, lessons = code_packets(network, rounded, first, code_one, None, *settings)
        weighting = dataclasses.replace(packets.aux, lesson=lax.stop_gradient(lessons))
        return dataclasses.replace(packets, aux=weighting)

    def _blank(self, packet: PacketInput) -> State:
        codec = self.config.codec
        return networks(codec)[codec.first].blank(packet.pictures.shape)

    def _first_pictures(self, params: dict[str, Tree], clips: Clips) -> tuple[Array, Terms | None]:
        """The pictures that the second packet is predicted from: no gradient flows into them."""
        if clips.first is None:
            return clips.reference, None
        name = self.config.codec.first
        packet = clips.first if name in self.trained else dataclasses.replace(clips.first, keys=None)
        coded, found = self._code_one(name, self._unpacked(params, name), self._blank(packet), packet)
        return lax.stop_gradient(coded.pictures), found

    def _code(self, params: dict[str, Tree], clips: Clips, teacher: ParamTree | None) -> dict[str, Terms]:
        """The terms [n, B] of the packets of each network, of those that code any."""
        codec = self.config.codec
        by_network = {}
        pictures, first = self._first_pictures(params, clips)
        if first is not None:
            by_network[codec.first] = jax.tree.map(lambda x: x[None], first)
        if clips.rest is not None:
            tree = self._unpacked(params, codec.rest)
            code: Any = functools.partial(self._code_one, codec.rest)
            code = jax.checkpoint(code) if self.stage.remat else code

            def code_one(_: None, state: State, packet: PacketInput) -> tuple[None, Coded, Terms]:
                return None, *code(tree, state, packet)

            network, packets = networks(codec)[codec.rest], self._with_lessons(teacher, clips.rest, pictures)
            settings = self.stage.refresh, self.config.precision
            _, by_network[codec.rest] = code_packets(network, packets, pictures, code_one, None, *settings)
        return by_network

    def _plain(
        self, state: TrainState, clips: Clips, rate: Array, teacher: ParamTree | None
    ) -> tuple[TrainState, dict[str, Terms], Array]:
        """One update per coded packet; the state that the next one is predicted from is detached."""
        codec = self.config.codec

        def update(
            part: str, train: TrainState, state: State, packet: PacketInput
        ) -> tuple[TrainState, Coded, tuple[Terms, Array]]:
            def of_packet(params: Tree) -> tuple[Array, tuple[Coded, Terms]]:
                coded, found = self._code_one(part, self._unpacked({part: params}, part), state, packet)
                return found.loss.mean(), (coded, found)

            if self.stage.remat:
                of_packet = jax.checkpoint(of_packet)
            gradient, (coded, found) = jax.grad(of_packet, has_aux=True)(train.params[part])
            train, norm = self._update(train, self._mean({part: gradient}), rate)
            return train, coded, (found, norm)

        by_network, norms = {}, []
        first: Terms | None
        if clips.first is not None and codec.first in self.trained:
            state, coded, (first, norm) = update(codec.first, state, self._blank(clips.first), clips.first)
            pictures = coded.pictures
            norms.append(norm[None])
        else:
            pictures, first = self._first_pictures(state.params, clips)
        if first is not None:
            by_network[codec.first] = jax.tree.map(lambda x: x[None], first)
        if clips.rest is not None:
            network, code_one = networks(codec)[codec.rest], functools.partial(update, codec.rest)
            settings = self.stage.refresh, self.config.precision
            packets = self._with_lessons(teacher, clips.rest, pictures)
            state, (found, of_rest) = code_packets(network, packets, pictures, code_one, state, *settings)
            by_network[codec.rest] = found
            norms.append(of_rest)
        return state, by_network, jnp.concatenate(norms)

    def _update(self, state: TrainState, gradients: dict[str, Tree], rate: Array) -> tuple[TrainState, Array]:
        """Clip, and update the parameters that have gradients; nothing happens if those are not finite."""
        norm = global_norm(gradients)
        finite = jnp.isfinite(norm)
        gradients = clipped(gradients, norm, self.stage.clip_norm)
        transformation = direction(self.config.optimiser)
        params, moments = dict(state.params), dict(state.moments)
        for part, gradient in gradients.items():
            updates, new_moments = transformation.update(gradient, moments[part], params[part])
            if part in self.packing.scales:
                updates = jax.tree.map(jnp.multiply, updates, self.packing.scales[part])
            new = jax.tree.map(lambda p, u: p - rate * u, params[part], updates), new_moments
            old = (params[part], moments[part])
            params[part], moments[part] = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
        skipped = state.skipped + jnp.where(finite, 0, 1)
        return dataclasses.replace(state, params=params, moments=moments, skipped=skipped), norm

    def _mean(self, tree: Tree) -> Tree:
        return lax.pmean(tree, self.axis) if self.axis else tree

    def _sum(self, tree: Tree) -> Tree:
        return lax.psum(tree, self.axis) if self.axis else tree

    def _metrics(self, by_network: dict[str, Terms], qp: Array) -> Metrics:
        """Means over clips and frames; PSNR of the mean error of a clip, so that no frame is infinite."""
        trained = jnp.concatenate([by_network[part].loss for part in self.trained])
        metrics = {"loss": self._mean(trained.mean())}
        bucket = (qp * BUCKETS / QP_LEVELS).astype(jnp.int32)
        members = (bucket[None] == jnp.arange(BUCKETS)[:, None]).astype(jnp.float32)  # [BUCKETS, B]
        count = self._sum(members.sum(axis=1))
        for part, found in by_network.items():
            bpp_y, bpp_z, bpp_side = (x.mean(axis=0) for x in (found.bpp_y, found.bpp_z, found.bpp_side))
            bpp = bpp_y + bpp_z + bpp_side
            psnr = -10.0 * jnp.log10(jnp.maximum(found.mse_y.mean(axis=0), 1e-10))
            metrics |= {
                f"bpp_{part}": self._mean(bpp.mean()),
                f"bpp_y_{part}": self._mean(bpp_y.mean()),
                f"bpp_z_{part}": self._mean(bpp_z.mean()),
                f"psnr_y_{part}": self._mean(psnr.mean()),
            }
            if found.differences:
                means = {name: self._mean(values.mean()) for name, values in found.differences.items()}
                metrics |= {f"distillation_{name}": value for name, value in means.items()}
                metrics["distillation"] = jnp.stack(list(means.values())).sum()
            if self.config.codec[part].side is not None:
                metrics[f"bpp_side_{part}"] = self._mean(bpp_side.mean())
            for name, values in (("bpp", bpp), ("psnr_y", psnr)):
                sums = self._sum((members * values).sum(axis=1))
                by_bucket = jnp.where(count > 0, sums / jnp.maximum(count, 1), jnp.nan)
                metrics |= {
                    f"{name}_{part}_{label}": mean for label, mean in zip(bucket_names(), by_bucket, strict=True)
                }
        return metrics


def bucket_names() -> list[str]:
    """Names of the ranges of qp in which metrics are counted: `qp0_15` and so on."""
    width = QP_LEVELS // BUCKETS
    return [f"qp{width * i}_{width * (i + 1) - 1}" for i in range(BUCKETS)]


def initial_state(config: TrainConfig, params: ParamTree, packing: Packing) -> TrainState:
    """The state before the first step."""
    packed = {part: packing.pack(part, params[part]) for part, _ in config.codec.networks}
    return TrainState(
        step=jnp.int32(0),
        params=packed,
        moments=fresh_moments(config, packed),
        average=packed if config.average_decay else None,
        skipped=jnp.int32(0),
        bad=jnp.int32(0),
        key=jax.random.key_data(jax.random.key(config.seed)),
    )


def fresh_moments(config: TrainConfig, packed: dict[str, Tree]) -> dict[str, Tree]:
    """The optimiser's state before its first update."""
    transformation = direction(config.optimiser)
    return {part: transformation.init(leaves) for part, leaves in packed.items()}
