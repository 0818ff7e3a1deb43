"""A plain training loop on one device."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.flatten_util import ravel_pytree
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nvc_jax.errors import ConfigError
from nvc_jax.files import make_folder
from nvc_jax.models.params import ParamTree, initialise
from nvc_jax.ops.colour import planes_to_picture
from nvc_jax.spec import QP_LEVELS, QP_OFFSETS
from nvc_jax.training.config import TrainConfig
from nvc_jax.training.data import Planes, load_clips, random_crops
from nvc_jax.training.forward import code_clip
from nvc_jax.training.losses import distortion, rate_weight
from nvc_jax.training.transform_init import patch_statistics, transform_codec

Metrics = dict[str, Array]
SAVE_SECONDS = 300.0
MAX_BAD_STEPS = 10  # in a row, skipped, before a run is stopped


def clip_loss(config: TrainConfig, params: ParamTree, planes: Planes, key: Array) -> tuple[Array, Metrics]:
    """Mean over frames and samples of lambda * weight * distortion + bpp, and what to log.

    Args:
        config: the run.
        params: {"intra": tree, "inter": tree}.
        planes: y [T, B, H, W], u and v [T, B, H/2, W/2], uint8.
        key: for qp, position in the sequence and noise.
    """
    key_qp, key_first, key_noise = jax.random.split(key, 3)
    clip = jax.vmap(planes_to_picture)(*map(jnp.asarray, planes))
    _, batch, height, width, _ = clip.shape
    qp = jax.random.randint(key_qp, (batch,), 0, QP_LEVELS).astype(jnp.float32)
    first = jax.random.randint(key_first, (), 0, len(QP_OFFSETS))
    coded = code_clip(config.codec, params, clip, qp, first, key_noise)

    weights = jnp.array([dict(config.frame_weights)[offset] for offset in QP_OFFSETS])
    losses, rates, errors = [], [], []
    for number, frame in enumerate(coded):
        low, high = config.intra_lambda if number == 0 else config.inter_lambda
        weight = 1.0 if number == 0 else weights[(first + number - 1) % len(QP_OFFSETS)]
        bpp = (frame.bits_y + frame.bits_z) / (height * width)
        lambda_ = rate_weight(qp, low, high)
        loss = lambda_ * weight * distortion(frame.picture, clip[number]) + bpp
        losses.append(loss * lambda_**-config.balance)
        rates.append(bpp.mean())
        errors.append(jnp.square(frame.picture - clip[number])[..., 0].mean())
    metrics = {
        "bpp_intra": rates[0],
        "bpp_inter": jnp.mean(jnp.array(rates[1:])),
        "psnr_y_intra": -10.0 * jnp.log10(errors[0]),
        "psnr_y_inter": -10.0 * jnp.log10(jnp.mean(jnp.array(errors[1:]))),
    }
    return jnp.mean(jnp.array(losses)), metrics


def optimiser(config: TrainConfig) -> optax.GradientTransformation:
    """Adam with warm-up and cosine decay; non-finite steps are skipped."""
    decay_steps = int(config.steps * (1.0 - config.decay_from))
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0.0, config.learning_rate, config.warmup_steps),
            optax.constant_schedule(config.learning_rate),
            optax.cosine_decay_schedule(config.learning_rate, max(decay_steps, 1), config.final_learning_rate),
        ],
        [config.warmup_steps, config.steps - decay_steps],
    )
    return optax.apply_if_finite(
        optax.chain(optax.clip_by_global_norm(config.clip_norm), optax.adam(schedule)),
        max_consecutive_errors=2 * MAX_BAD_STEPS,
    )


def train(config: TrainConfig, data: Path, workdir: Path, save: Callable[[ParamTree], Any]) -> None:
    """Run all stages.

    Args:
        config: the run.
        data: folder of videos.
        workdir: `metrics.jsonl` is written here.
        save: called with the averaged parameters every five minutes and at the end.
    """
    if (workdir / "metrics.jsonl").exists():
        raise ConfigError(f"{workdir}: holds a run already, and runs cannot be resumed yet; name a new folder.")
    make_folder(workdir)
    rng = np.random.default_rng(config.seed)
    clips = load_clips(data, max(stage.frames for stage in config.stages))
    # One vector for all parameters: the optimiser is then a handful of operations instead of thousands.
    params, unravel = ravel_pytree(_initial_params(config, clips, rng))
    average = params
    transformation = optimiser(config)
    state = transformation.init(params)

    def loss_of_vector(params: Array, planes: Planes, key: Array) -> tuple[Array, Metrics]:
        return clip_loss(config, unravel(params), planes, key)

    @jax.jit
    def update(params: Array, state: Any, average: Array, planes: Planes, key: Array) -> tuple[Any, ...]:
        gradient = jax.value_and_grad(loss_of_vector, has_aux=True)
        (loss, metrics), gradients = gradient(params, planes, key)
        updates, state = transformation.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        average = optax.incremental_update(params, average, 1.0 - config.average_decay)
        return params, state, average, {"loss": loss, "gradient_norm": optax.tree.norm(gradients), **metrics}

    key = jax.random.key(config.seed)
    step, saved = 0, time.monotonic()
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns) as progress, (workdir / "metrics.jsonl").open("w") as log:
        task = progress.add_task("starting", total=config.steps)
        for stage in config.stages:
            batches = random_crops(clips, stage.batch, stage.frames, stage.size, rng)
            for _ in range(stage.steps):
                noise = jax.random.fold_in(key, step)
                params, state, average, metrics = update(params, state, average, next(batches), noise)
                if int(state.notfinite_count) >= MAX_BAD_STEPS:
                    raise ConfigError(
                        f"step {step}: no finite loss or gradient for {MAX_BAD_STEPS} steps; the model saved before "
                        "is kept; try a lower learning rate."
                    )
                values = {name: float(value) for name, value in metrics.items()}
                finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
                log.write(json.dumps({"step": step, "frames": stage.frames, **finite}) + "\n")
                log.flush()
                step += 1
                progress.update(task, advance=1, description=f"loss {values['loss']:.4f}")
                if time.monotonic() - saved > SAVE_SECONDS:
                    save(unravel(average))
                    saved = time.monotonic()
    save(unravel(average))


def _initial_params(config: TrainConfig, clips: list[Planes], rng: np.random.Generator) -> dict[str, ParamTree]:
    if not config.transform_init:
        return initialise(config.codec, config.seed)
    stage = config.stages[0]
    sample = next(random_crops(clips, 64, stage.frames, stage.size, rng))
    pictures = np.asarray(jax.vmap(planes_to_picture)(*map(jnp.asarray, sample))).swapaxes(0, 1)
    return transform_codec(
        config.codec, patch_statistics(pictures), config.intra_lambda, config.inter_lambda, config.seed
    )
