"""The short training of a candidate: the modules that were swapped, with all others as in the teacher."""

import dataclasses
import math
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax

from nvc_jax.codec.store import StoredModel
from nvc_jax.errors import TrainingError
from nvc_jax.models.config import CodecConfig
from nvc_jax.models.params import parameter_shapes
from nvc_jax.search.settings import Settings
from nvc_jax.search.variants import INTER
from nvc_jax.training.config import Logging, Stage, TrainConfig
from nvc_jax.training.export import MODEL
from nvc_jax.training.records import CHECKPOINTS
from nvc_jax.training.run import train

# Beginnings of the parameter names of a module, after the name of the network.
_PARAMETERS = {
    "extractor": ("adaptor_", "extractor_", "q_feature"),
    "decoder": ("decoder_", "q_decoder"),
    "reconstruction": ("recon_", "q_recon"),
}


def trained_parameters(teacher: CodecConfig, student: CodecConfig, modules: Iterable[str]) -> frozenset[str]:
    """Names of the parameters that the short training updates.

    Those of the modules, and those elsewhere that read their outputs and have another shape for it.

    Args:
        teacher: architecture of the parameters that are kept.
        student: architecture that is trained.
        modules: that were swapped.
    """
    before, after = parameter_shapes(teacher), parameter_shapes(student)
    beginnings = tuple(f"{INTER}/{part}" for module in modules for part in _PARAMETERS[module])
    return frozenset(name for name, shape in after.items() if name.startswith(beginnings) or before.get(name) != shape)


def freezing(names: Collection[str], trained: Collection[str]) -> tuple[tuple[str, float], ...]:
    """Multiples of the learning rate that keep all but some parameters (`Optimiser.scales`), by module if possible."""
    modules: dict[str, list[str]] = {}
    for name in names:
        modules.setdefault("/".join(name.split("/")[:2]) + "/", []).append(name)
    kept: list[str] = []
    for module, members in modules.items():
        frozen = [name for name in members if name not in trained]
        kept += [module] if len(frozen) == len(members) else frozen
    return tuple((pattern, 0.0) for pattern in kept)


def training_config(
    settings: Settings, teacher: StoredModel, student: CodecConfig, modules: Iterable[str], start: Path
) -> TrainConfig:
    """Configure the short training.

    Args:
        settings: of the search.
        teacher: whose modules stay.
        student: architecture that is trained.
        modules: that were swapped.
        start: model directory of the student before it.
    """
    data, loss, optimiser = settings.training(teacher.config)
    trained = trained_parameters(teacher.config, student, modules)
    frozen = freezing(list(parameter_shapes(student)), trained)
    offsets = teacher.offsets
    if set(offsets.inter) <= dict(loss.frame_weights).keys():
        loss = dataclasses.replace(loss, qp_offsets=offsets.inter, intra_qp_offset=offsets.start)
    stage = Stage(
        "search",
        settings.clip_frames,
        steps=settings.steps,
        batch=settings.batch,
        size=settings.crop,
        train=INTER,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.steps // 10,
        decay_from=0.3,
        final_share=0.02,
        clip_norm=0.5,
    )
    return TrainConfig(
        codec=student,
        stages=(stage,),
        data=data,
        loss=loss,
        optimiser=dataclasses.replace(optimiser, scales=(*optimiser.scales, *frozen)),
        logging=Logging(checkpoint_steps=50, keep=1, tensorboard=False),
        init=str(start),
        seed=settings.seed,
    )


def fine_tune(config: TrainConfig, workdir: Path, note: Callable[[str], Any]) -> Path:
    """Train, or go on, and give the folder of the model.

    Raises:
        KeyboardInterrupt: a signal stopped it.
        NvcError: the training cannot start or continue.
    """
    outcome = train(config, workdir, None, note)
    jax.clear_caches()  # type: ignore[no-untyped-call]  # programs of a candidate are 250 MB with rt_small
    if outcome.signal is not None:
        raise KeyboardInterrupt
    if outcome.model is None:
        raise TrainingError(f"{workdir}: another process has the model; a search is one process.")
    return workdir / MODEL


def finish(folder: Path) -> None:
    """Remove what only a run that goes on needs."""
    for name in ("start", f"run/{CHECKPOINTS}"):
        shutil.rmtree(folder / name, ignore_errors=True)


def counts(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Count the parameters of the network that is searched."""
    return sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(f"{INTER}/"))
