"""A training run as data: codec, data, stages, loss, optimiser, evaluation, logging (D9)."""

import dataclasses
import math
from typing import Literal

from nvc_jax.codec.schedule import check_qp_offsets
from nvc_jax.errors import ConfigError
from nvc_jax.models.config import CodecConfig
from nvc_jax.spec import QP_LEVELS, QP_OFFSETS

DEMO = "demo"  # a data source that needs no files


@dataclasses.dataclass(frozen=True)
class Stage:
    """Part of a run. Parameters are carried from stage to stage.

    Attributes:
        name: what metrics call it.
        frames: of a clip, its first frame included; 1 for pictures.
        steps: how many batches; 0 if `epochs` says it.
        epochs: how many times every clip is seen; turned into steps when a run starts.
        batch: clips per step, over all devices of all processes.
        size: side of the square crops in pixels, a multiple of 16.
        train: which codec is updated. "inter" takes the intra codec as it is, without gradient.
        mode: "cascaded" unrolls the clip and makes one update; "plain" makes one per coded frame, with the reference
            detached.
        learning_rate: its peak.
        warmup_steps: steps in which it rises linearly from 0.
        decay_from: share of the stage after which it falls by half a cosine.
        final_share: of the peak, at the end; 1 keeps it constant.
        clip_norm: limit of the global norm of the gradient.
        first_reference: what the first inter frame is predicted from: the intra codec's picture, or the original.
        refresh: inter frames from one start from a picture to the next; 0 starts only the first so. With motion all do.
        remat: compute activations again on the way back instead of keeping them.
        skip: with motion, leave out the blocks that an encoder would.
        share: of the time, in a run that is given seconds; 0 in all stages shares it out by what they compute.
        carry_optimiser: go on with the optimiser state of the stage before.
    """

    name: str
    frames: int
    steps: int = 0
    epochs: float = 0.0
    batch: int = 8
    size: int = 128
    train: Literal["intra", "inter", "both"] = "both"
    mode: Literal["plain", "cascaded"] = "cascaded"
    learning_rate: float = 1e-4
    warmup_steps: int = 0
    decay_from: float = 0.0
    final_share: float = 1.0
    clip_norm: float = 0.2
    first_reference: Literal["intra", "original"] = "intra"
    refresh: int = 0
    remat: bool = False
    skip: bool = False
    share: float = 0.0
    carry_optimiser: bool = False

    def __post_init__(self) -> None:
        where = f"stage {self.name!r}"
        if (self.steps > 0) == (self.epochs > 0) or min(self.steps, self.epochs) < 0:
            raise ConfigError(f"{where}: give either steps or epochs, above 0.")
        if not math.isfinite(self.epochs):
            raise ConfigError(f"{where}: epochs is {self.epochs}; it must be a finite number.")
        if self.batch < 1 or self.size < 16 or self.size % 16:
            raise ConfigError(f"{where}: batch is {self.batch} and size {self.size}; at least 1, and a multiple of 16.")
        if self.frames < 1 or (self.frames == 1) != (self.train == "intra"):
            raise ConfigError(
                f"{where}: frames is {self.frames} with train={self.train}; intra takes 1 frame, the others 2 or more."
            )
        if self.train == "both" and self.first_reference == "original":
            raise ConfigError(f"{where}: first_reference=original leaves nothing for the intra codec to do in it.")
        if not (self.learning_rate > 0 and self.clip_norm > 0 and self.warmup_steps >= 0 and self.refresh >= 0):
            raise ConfigError(f"{where}: learning_rate, clip_norm must be above 0; warmup_steps, refresh at least 0.")
        if not self.share >= 0:
            raise ConfigError(f"{where}: share is {self.share}; it must be at least 0.")
        if not (0 <= self.decay_from <= 1 and 0 <= self.final_share <= 1):
            raise ConfigError(f"{where}: decay_from and final_share must be from 0 to 1.")


@dataclasses.dataclass(frozen=True)
class Data:
    """Where clips come from, and how they are cut.

    Attributes:
        source: a folder of videos, of folders of PNGs, or of Vimeo-90k septuplets; "demo" makes a clip.
        epoch: "clips" takes every clip once in an epoch; "windows" takes it as often as the stage's clips fit into it.
        skip: frames of a clip are 1 to this many apart.
        reverse: share of clips that run backwards.
        flip: share that is mirrored left to right.
        flip_vertical: share that is mirrored upside down.
        scale: from and to: pixels of the source per pixel of the crop.
        small: clips smaller than a crop at its largest scale are padded by repeating their edge, or skipped.
        memory_mb: sets that take less than this when decoded are kept in memory.
        threads: that prepare batches.
        prefetch: batches that are prepared ahead.
        on_device: keep all clips decoded in the memory of every device and cut batches there, several steps a call.
            For small sets on a fast device. Clips are then drawn with replacement, and `scale` goes from 1 to a whole
            number: boxes of so many pixels are averaged.
    """

    source: str = ""
    epoch: Literal["clips", "windows"] = "windows"
    skip: int = 1
    reverse: float = 0.0
    flip: float = 0.5
    flip_vertical: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    small: Literal["pad", "skip"] = "pad"
    memory_mb: int = 4096
    threads: int = 2
    prefetch: int = 4
    on_device: bool = False

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("reverse", "flip", "flip_vertical")}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ConfigError(f"data.{name} is {share}; it must be from 0 to 1.")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ConfigError(f"data.scale is {self.scale}; it must rise and be above 0.")
        if min(self.skip, self.threads, self.prefetch) < 1:
            raise ConfigError("data.skip, data.threads and data.prefetch must be at least 1.")
        if self.memory_mb < 0:
            raise ConfigError(f"data.memory_mb is {self.memory_mb}; it must be at least 0.")
        if self.on_device and (self.scale[0] != 1 or self.scale[1] % 1):
            raise ConfigError(f"data.scale is {self.scale}; with data.on_device it goes from 1 to a whole number.")


@dataclasses.dataclass(frozen=True)
class Loss:
    """Rate-distortion loss (training spec 2).

    Attributes:
        intra_lambda: weight of the distortion at qp 0 and 63, intra frames.
        inter_lambda: the same for inter frames.
        qp_offsets: added to the base qp of inter frame n, by n modulo their number; models keep them.
        frame_weights: (qp offset, weight of the distortion) of inter frames.
        balance: every sample's loss is divided by lambda to this power. 0 is the official loss, where large qps
            dominate the gradient; 0.5 lets every qp count alike.
        random_position: the first inter frame of a clip takes a random place in the hierarchy instead of the second
            one, so that short clips train all offsets.
    """

    intra_lambda: tuple[float, float] = (10.0, 2048.0)
    inter_lambda: tuple[float, float] = (1.0, 768.0)
    qp_offsets: tuple[int, ...] = QP_OFFSETS
    frame_weights: tuple[tuple[int, float], ...] = ((0, 0.5), (8, 1.2), (4, 0.9))
    balance: float = 0.0
    random_position: bool = False

    def __post_init__(self) -> None:
        check_qp_offsets(self.qp_offsets)
        missing = set(self.qp_offsets) - dict(self.frame_weights).keys()
        if missing:
            raise ConfigError(f"loss.frame_weights has no weight for the qp offsets {sorted(missing)}.")
        if min(*self.intra_lambda, *self.inter_lambda) <= 0:
            raise ConfigError("loss.intra_lambda and loss.inter_lambda must be above 0.")
        if not self.balance >= 0:
            raise ConfigError(f"loss.balance is {self.balance}; it must be at least 0.")


@dataclasses.dataclass(frozen=True)
class Optimiser:
    """How gradients become updates.

    Attributes:
        name: "muon" orthogonalises the updates of matrices and 3x3 kernels; all else is Adam, as with "adamw".
        beta1: of Adam.
        beta2: of Adam.
        epsilon: of Adam.
        weight_decay: per unit of the learning rate; none with "adam".
        muon_scale: learning rate of the orthogonalised updates, as a multiple of the stage's.
        scales: (part of a parameter's name, multiple of the stage's learning rate) for parameters that need another
            one; names are such as `inter/decoder_up/kernel`, and the last that fits wins.
        row_reach: in qps: how far the gradient of a row of a quality bank or of z's prior reaches its neighbours
            (deviation of a Gaussian). A sample trains the rows around its qp, not one of 64 alone. 0 for none.
    """

    name: Literal["adamw", "adam", "muon"] = "adamw"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    muon_scale: float = 10.0
    scales: tuple[tuple[str, float], ...] = ()
    row_reach: float = 0.0

    def __post_init__(self) -> None:
        if self.row_reach < 0 or any(scale < 0 for _, scale in self.scales):
            raise ConfigError("optimiser.row_reach and the numbers of optimiser.scales must be at least 0.")
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ConfigError(f"optimiser.beta1 is {self.beta1} and beta2 {self.beta2}; from 0 to below 1.")
        if not (self.epsilon > 0 and self.weight_decay >= 0):
            raise ConfigError("optimiser.epsilon must be above 0 and optimiser.weight_decay at least 0.")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Measuring with real streams while a run goes on.

    Attributes:
        steps: from one evaluation to the next; 0 for none.
        source: a folder of videos, or "demo".
        frames: of each video.
        qps: base qps.
    """

    steps: int = 0
    source: str = ""
    frames: int = 16
    qps: tuple[int, ...] = (0, 21, 42, 63)

    def __post_init__(self) -> None:
        if self.steps < 0 or self.frames < 1 or not self.qps or not all(0 <= qp < QP_LEVELS for qp in self.qps):
            raise ConfigError(f"evaluation: steps at least 0, frames at least 1, qps from 0 to {QP_LEVELS - 1}.")


@dataclasses.dataclass(frozen=True)
class Logging:
    """What is kept of a run.

    Attributes:
        checkpoint_steps: from one checkpoint to the next.
        keep: how many checkpoints.
        tensorboard: write event files for TensorBoard too.
    """

    checkpoint_steps: int = 1000
    keep: int = 3
    tensorboard: bool = True

    def __post_init__(self) -> None:
        if min(self.checkpoint_steps, self.keep) < 1:
            raise ConfigError("logging.checkpoint_steps and logging.keep must be at least 1.")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What `train.py` runs. What changes no result (`settings.NEUTRAL`) may be another when a run is resumed.

    Attributes:
        codec: architecture.
        stages: one after the other.
        data: clips.
        loss: what is minimised.
        optimiser: by what.
        evaluation: measuring on the way.
        logging: what is kept.
        init: model directory or packaged model to start from; random parameters if empty.
        transform_init: start as a transform codec (transform_init.py) rather than from random parameters.
        precision: of the networks; parameters, loss and entropy are float32 in any case.
        average_decay: of the exponential moving average of the parameters, which is then what is exported; 0 for none.
        significant_bits: of the parameters that are exported; 24 is float32, fewer make a smaller model directory.
        steps_per_call: with `data.on_device`, steps that the device makes before the host hears of them.
        max_bad_steps: a run stops after so many steps in a row without a finite gradient.
        seed: of parameters, crops, qps and noise.
    """

    codec: CodecConfig
    stages: tuple[Stage, ...]
    data: Data = Data()
    loss: Loss = Loss()
    optimiser: Optimiser = Optimiser()
    evaluation: Evaluation = Evaluation()
    logging: Logging = Logging()
    init: str = ""
    transform_init: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    average_decay: float = 0.0
    significant_bits: int = 24
    steps_per_call: int = 10
    max_bad_steps: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("a training run needs at least one stage.")
        if self.stages[0].carry_optimiser:
            raise ConfigError("stages.0.carry_optimiser is true, but there is no stage before it.")
        if self.init and self.transform_init:
            raise ConfigError("init and transform_init exclude each other; set transform_init=false.")
        if not 0 <= self.average_decay < 1 or not 1 <= self.significant_bits <= 24 or self.max_bad_steps < 1:
            raise ConfigError("average_decay must be in 0..1, significant_bits in 1..24, max_bad_steps at least 1.")
        if self.steps_per_call < 1:
            raise ConfigError(f"steps_per_call is {self.steps_per_call}; it must be at least 1.")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; it must be at least 0.")

    @property
    def steps(self) -> int:
        """Batches of all stages; epochs must have been resolved."""
        return sum(stage.steps for stage in self.stages)

    def shares(self) -> list[float]:
        """Of the time that each stage gets in a run that is given seconds."""
        given = [stage.share for stage in self.stages]
        if not all(given):
            given = [float(stage.steps * stage.batch * stage.frames * stage.size**2) for stage in self.stages]
        return [share / sum(given) for share in given]

    def stage_starts(self) -> list[tuple[int, int]]:
        """Of each stage, the steps and the clips of the run before it."""
        starts, step, sample = [], 0, 0
        for stage in self.stages:
            starts.append((step, sample))
            step, sample = step + stage.steps, sample + stage.steps * stage.batch
        return starts


def resolved(config: TrainConfig, epoch_clips: list[int]) -> TrainConfig:
    """The same run with steps instead of epochs.

    Args:
        config: the run.
        epoch_clips: how many clips are an epoch of each stage.
    """

    def in_steps(stage: Stage, clips: int) -> Stage:
        if stage.steps:
            return stage
        return dataclasses.replace(stage, steps=max(1, math.ceil(stage.epochs * clips / stage.batch)), epochs=0.0)

    stages = tuple(map(in_steps, config.stages, epoch_clips))
    return dataclasses.replace(config, stages=stages)
