"""One training step: a pure function of the state and a batch, alike on one device and on many."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array, lax

from nvc_jax.models.inter import InterModel
from nvc_jax.models.intra import IntraModel
from nvc_jax.models.params import ParamTree
from nvc_jax.models.state import Reference, reference_after
from nvc_jax.ops.colour import planes_to_picture, rgb_to_ycbcr
from nvc_jax.spec import QP_LEVELS
from nvc_jax.training.config import Loss, Stage, TrainConfig
from nvc_jax.training.data import Batch
from nvc_jax.training.device_data import DeviceClips, cut_batch
from nvc_jax.training.forward import Coded, FrameInput, code_frame, code_inter_frames, joined, runs
from nvc_jax.training.losses import distortion, rate_weight
from nvc_jax.training.optimiser import Packing, clipped, direction, global_norm, learning_rate, share_rows
from nvc_jax.training.processes import DEVICES

BUCKETS = 4  # of qps, in which rates and errors are logged
PARTS = {"intra": ("intra",), "inter": ("inter",), "both": ("intra", "inter")}

Metrics = dict[str, Array]
Tree = Any


@flax.struct.dataclass
class TrainState:
    """All that a step changes, and the key it draws from.

    Attributes:
        step: batches so far.
        params: {"intra": ..., "inter": ...}, as `Packing` keeps them, float32.
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
    """What a coded frame comes to, per sample, all [B].

    Attributes:
        loss: lambda * weight * distortion + bpp, balanced.
        bpp_y: bits of y per pixel.
        bpp_z: the same for z.
        bpp_motion: the same for the motion of blocks.
        mse_y: of luma, for PSNR.
    """

    loss: Array
    bpp_y: Array
    bpp_z: Array
    bpp_motion: Array
    mse_y: Array


@flax.struct.dataclass
class Clips:
    """A batch as the codecs see it.

    Attributes:
        first: the first frame of every clip.
        rest: the others, T-1 in front; None if there are none.
        qp: [B] base qp.
    """

    first: FrameInput
    rest: FrameInput | None
    qp: Array


@flax.struct.dataclass
class Weighting:
    """What turns a coded frame into a loss, all [B].

    Attributes:
        lambda_: weight of the distortion at this qp.
        weight: that of the frame's place in the hierarchy.
    """

    lambda_: Array
    weight: Array


def pictures(planes: tuple[Any, ...]) -> Array:
    """uint8 planes [B, T, ...] to YCbCr pictures [T, B, H, W, 3] in 0..1."""
    in_order = [plane.swapaxes(0, 1) for plane in planes]
    if len(in_order) == 1:
        return rgb_to_ycbcr(in_order[0].astype(jnp.float32) / 255.0)
    return jax.vmap(planes_to_picture)(*in_order)


def prepare(loss: Loss, batch: Batch, key: Array) -> Clips:
    """Draw qps, places in the hierarchy and keys of the noise, each for a clip by its number in the run."""
    clip = pictures(batch.planes)
    frames = len(clip)
    keys = jax.vmap(lambda sample: jax.random.split(jax.random.fold_in(key, sample), 3))(batch.sample)
    qp = jax.vmap(lambda k: jax.random.randint(k, (), 0, QP_LEVELS))(keys[:, 0]).astype(jnp.float32)
    place = jnp.ones(len(qp), jnp.int32)  # the first inter frame of a sequence has number 1
    if loss.random_position:
        place = jax.vmap(lambda k: jax.random.randint(k, (), 0, len(loss.qp_offsets)))(keys[:, 1])
    noise = jax.vmap(lambda k: jax.random.split(k, frames), out_axes=1)(keys[:, 2])
    first = FrameInput(clip[0], qp, noise[0], Weighting(rate_weight(qp, *loss.intra_lambda), jnp.ones_like(qp)))
    if frames == 1:
        return Clips(first, None, qp)
    places = (place[None] + jnp.arange(frames - 1)[:, None]) % len(loss.qp_offsets)
    weights = jnp.array([dict(loss.frame_weights)[offset] for offset in loss.qp_offsets])
    lambdas = jnp.broadcast_to(rate_weight(qp, *loss.inter_lambda), places.shape)
    offsets = jnp.array(loss.qp_offsets, jnp.float32)
    rest = FrameInput(clip[1:], qp + offsets[places], noise[1:], Weighting(lambdas, weights[places]))
    return Clips(first, rest, qp)


def terms(loss: Loss, coded: Coded, frame: FrameInput) -> Terms:
    """Rate and distortion of a coded frame."""
    pixels = frame.picture.shape[1] * frame.picture.shape[2]
    weighting: Weighting = frame.aux
    weighted = weighting.lambda_ * weighting.weight * distortion(coded.picture, frame.picture)
    return Terms(
        loss=(weighted + coded.bits / pixels) * weighting.lambda_**-loss.balance,
        bpp_y=coded.bits_y / pixels,
        bpp_z=coded.bits_z / pixels,
        bpp_motion=coded.bits_motion / pixels,
        mse_y=jnp.square(coded.picture - frame.picture)[..., 0].mean(axis=(1, 2)),
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
    """

    config: TrainConfig
    stage: Stage
    start: int | Array | np.int32
    packing: Packing
    axis: str | None = None

    def __call__(self, state: TrainState, batch: Batch, position: Array | None = None) -> tuple[TrainState, Metrics]:
        """Update the parameters with a batch. All metrics are scalars. position: see `learning_rate`."""
        clips = prepare(self.config.loss, batch, jax.random.wrap_key_data(state.key))
        rate = learning_rate(self.stage, state.step - self.start, position)
        old = state
        if self.stage.mode == "plain":
            state, by_frame, norms = self._plain(state, clips, rate)
        else:
            gradients, by_frame = self.gradients(state.params, clips)
            state, norms = self._update(state, gradients, rate)
        bad = jnp.where(jnp.isfinite(norms).all(), 0, old.bad + 1)
        average = state.average
        if average is not None:
            decay = self.config.average_decay
            average = jax.tree.map(lambda a, p: a + (1.0 - decay) * (p - a), average, state.params)
        state = dataclasses.replace(state, step=state.step + 1, average=average, bad=bad)
        return state, {
            **self._metrics(by_frame, clips.qp),
            "learning_rate": rate,
            "gradient_norm": jnp.mean(norms),
            "skipped": state.skipped,
            "bad": bad,
        }

    def gradients(self, params: dict[str, Tree], clips: Clips) -> tuple[dict[str, Tree], dict[str, Terms]]:
        """Gradients of the mean loss of all clips of all devices, and the terms of the frames of this one."""

        def loss(trained: dict[str, Tree]) -> tuple[Array, dict[str, Terms]]:
            by_frame = self._code(params | trained, clips)
            losses = [by_frame[part].loss for part in PARTS[self.stage.train]]
            return jnp.concatenate(losses).mean(), by_frame

        trained = {part: params[part] for part in PARTS[self.stage.train]}
        gradients, by_frame = jax.grad(loss, has_aux=True)(trained)
        return self._mean(gradients), by_frame

    def _models(self) -> tuple[IntraModel, InterModel]:
        return IntraModel(self.config.codec.intra), InterModel(self.config.codec.inter)

    def _unpacked(self, params: dict[str, Tree], part: str) -> ParamTree:
        return share_rows(self.packing.unpack(part, params[part]), self.config.optimiser.row_reach)

    def _first_picture(self, params: dict[str, Tree], clips: Clips) -> tuple[Array, Terms | None]:
        """What the first inter frame is predicted from: no gradient flows into it."""
        if self.stage.first_reference == "original":
            return clips.first.picture, None
        intra, _ = self._models()
        frame = clips.first if self.stage.train != "inter" else dataclasses.replace(clips.first, keys=None)
        coded = code_frame(intra, self._unpacked(params, "intra"), frame, None, self.config.precision)
        return lax.stop_gradient(coded.picture), terms(self.config.loss, coded, clips.first)

    def _code(self, params: dict[str, Tree], clips: Clips) -> dict[str, Terms]:
        """The terms of the intra frame [1, B] and of the inter frames [T-1, B], of what there is."""
        by_frame = {}
        picture, first = self._first_picture(params, clips)
        if first is not None:
            by_frame["intra"] = jax.tree.map(lambda x: x[None], first)
        if clips.rest is not None:
            _, inter = self._models()
            by_frame["inter"] = code_inter_frames(
                inter,
                self._unpacked(params, "inter"),
                clips.rest,
                picture,
                lambda coded, frame: terms(self.config.loss, coded, frame),
                self.stage.refresh,
                self.stage.remat,
                self.config.precision,
                self.stage.skip,
            )
        return by_frame

    def _plain(self, state: TrainState, clips: Clips, rate: Array) -> tuple[TrainState, dict[str, Terms], Array]:
        """One update per coded frame; what the next one is predicted from is detached."""
        loss = self.config.loss
        intra, inter = self._models()

        def code(
            part: str, model: IntraModel | InterModel, state: TrainState, reference: Reference | None, frame: FrameInput
        ) -> tuple[TrainState, Coded, Terms, Array]:
            def of_frame(params: Tree) -> tuple[Array, tuple[Coded, Terms]]:
                tree = self._unpacked({part: params}, part)
                coded = code_frame(model, tree, frame, reference, self.config.precision, self.stage.skip)
                found = terms(loss, coded, frame)
                return found.loss.mean(), (coded, found)

            if self.stage.remat:
                of_frame = jax.checkpoint(of_frame)
            gradient, (coded, found) = jax.grad(of_frame, has_aux=True)(state.params[part])
            state, norm = self._update(state, self._mean({part: gradient}), rate)
            return state, coded, found, norm

        by_frame, norms = {}, []
        if self.stage.train == "inter":
            picture, first = self._first_picture(state.params, clips)
        else:
            state, coded, first, norm = code("intra", intra, state, None, clips.first)
            picture = coded.picture
            norms.append(norm[None])
        if first is not None:
            by_frame["intra"] = jax.tree.map(lambda x: x[None], first)

        def step(carry: tuple[TrainState, Array, Array], frame: FrameInput) -> tuple[Any, tuple[Terms, Array]]:
            state, feature, picture = carry
            reference = reference_after(inter.config, feature, picture)
            state, coded, found, norm = code("inter", inter, state, reference, frame)
            keeps_picture = self.stage.refresh or inter.config.motion
            return (state, coded.feature, coded.picture if keeps_picture else picture), (found, norm)

        kept = []
        for run in runs(clips.rest, self.stage.refresh) if clips.rest is not None else ():
            head = jax.tree.map(lambda x: x[0], run)
            state, coded, found, norm = code("inter", inter, state, Reference(picture, "picture"), head)
            kept.append(jax.tree.map(lambda x: x[None], (found, norm)))
            picture = coded.picture
            if len(run.qp) > 1:
                carry = (state, coded.feature, coded.picture)
                (state, _, picture), rest = lax.scan(step, carry, jax.tree.map(lambda x: x[1:], run))
                kept.append(rest)
        if kept:
            by_frame["inter"], inter_norms = joined(kept)
            norms.append(inter_norms)
        return state, by_frame, jnp.concatenate(norms)

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

    def _metrics(self, by_frame: dict[str, Terms], qp: Array) -> Metrics:
        """Means over clips and frames; PSNR of the mean error of a clip, so that no frame is infinite."""
        trained = jnp.concatenate([by_frame[part].loss for part in PARTS[self.stage.train]])
        metrics = {"loss": self._mean(trained.mean())}
        bucket = (qp * BUCKETS / QP_LEVELS).astype(jnp.int32)
        members = (bucket[None] == jnp.arange(BUCKETS)[:, None]).astype(jnp.float32)  # [BUCKETS, B]
        count = self._sum(members.sum(axis=1))
        for part, found in by_frame.items():
            bpp_y, bpp_z, bpp_motion = (x.mean(axis=0) for x in (found.bpp_y, found.bpp_z, found.bpp_motion))
            bpp = bpp_y + bpp_z + bpp_motion
            psnr = -10.0 * jnp.log10(jnp.maximum(found.mse_y.mean(axis=0), 1e-10))
            metrics |= {
                f"bpp_{part}": self._mean(bpp.mean()),
                f"bpp_y_{part}": self._mean(bpp_y.mean()),
                f"bpp_z_{part}": self._mean(bpp_z.mean()),
                f"psnr_y_{part}": self._mean(psnr.mean()),
            }
            if part == "inter" and self.config.codec.inter.motion:
                metrics["bpp_motion_inter"] = self._mean(bpp_motion.mean())
            for name, values in (("bpp", bpp), ("psnr_y", psnr)):
                sums = self._sum((members * values).sum(axis=1))
                means = jnp.where(count > 0, sums / jnp.maximum(count, 1), jnp.nan)
                metrics |= {f"{name}_{part}_{label}": mean for label, mean in zip(bucket_names(), means, strict=True)}
        return metrics


def bucket_names() -> list[str]:
    """Of the ranges of qp in which metrics are counted, such as `qp0_15`."""
    width = QP_LEVELS // BUCKETS
    return [f"qp{width * i}_{width * (i + 1) - 1}" for i in range(BUCKETS)]


def initial_state(config: TrainConfig, params: ParamTree, packing: Packing) -> TrainState:
    """The state before the first step, on the host."""
    packed = {part: packing.pack(part, params[part]) for part in ("intra", "inter")}
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


@flax.struct.dataclass
class Place:
    """Where a call of several steps stands in the run.

    Attributes:
        start: steps of the run before the stage.
        sample: clips of the run before the call, uint32.
        count: steps to make.
        timed: the schedule follows a clock rather than steps.
        position: of the first step in the stage's schedule, see `learning_rate`; if timed.
        pace: how far a step goes there; if timed.
    """

    start: Array | np.int32
    sample: Array | np.uint32
    count: Array | np.int32
    timed: Array | np.bool_
    position: Array | np.float32
    pace: Array | np.float32


def several_on_all_devices(
    step: Step, clips: DeviceClips, most: int
) -> Callable[[TrainState, npt.NDArray[np.float32], Place], tuple[TrainState, Metrics]]:
    """Up to `most` steps in one call on batches that are cut on the devices; see `on_all_devices`.

    Metrics are arrays, of which `count` values were set.
    """
    mine = step.stage.batch // jax.device_count()

    def update(state: TrainState, clips: DeviceClips, asked: Array, place: Place) -> tuple[TrainState, Metrics]:
        mapped = dataclasses.replace(step, start=place.start, axis=DEVICES)
        first = place.sample + (lax.axis_index(DEVICES) * mine).astype(jnp.uint32) + jnp.arange(mine, dtype=jnp.uint32)

        def one(number: Array, state: TrainState) -> tuple[TrainState, Metrics]:
            sample = first + number.astype(jnp.uint32) * jnp.uint32(step.stage.batch)
            batch = cut_batch(clips, step.stage, sample, jax.random.wrap_key_data(state.key))
            steps = (state.step - place.start).astype(jnp.float32)
            return mapped(state, batch, jnp.where(place.timed, place.position + number * place.pace, steps))

        def body(number: Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
            state, metrics = one(number, carry[0])
            return state, jax.tree.map(lambda kept, value: kept.at[number].set(value), carry[1], metrics)

        shapes = jax.eval_shape(one, jnp.int32(0), state)[1]
        kept = jax.tree.map(lambda value: jnp.zeros(most, value.dtype), shapes)
        state, metrics = lax.fori_loop(0, place.count, body, (state, kept))
        return state, metrics | {"asked": lax.pmax(asked, DEVICES)}

    several = jax.pmap(update, axis_name=DEVICES, in_axes=(0, 0, 0, None), donate_argnums=0)
    return lambda state, asked, place: several(state, clips, asked, place)


def on_all_devices(step: Step) -> Callable[[TrainState, Batch, npt.NDArray[np.float32]], tuple[TrainState, Metrics]]:
    """The step, mapped over the devices of all processes; the state is updated in place.

    The third argument is 1 on devices of a process that was asked to stop; `asked` among the metrics says in all
    processes alike whether there is one.
    """
    mapped = dataclasses.replace(step, axis=DEVICES)

    def update(state: TrainState, batch: Batch, asked: Array) -> tuple[TrainState, Metrics]:
        state, metrics = mapped(state, batch)
        return state, metrics | {"asked": lax.pmax(asked, DEVICES)}

    return jax.pmap(update, axis_name=DEVICES, donate_argnums=0)
