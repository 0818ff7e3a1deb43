"""Configuration of a training run: codec, data, stages, loss, optimiser, evaluation, logging."""

import dataclasses
import math
from typing import Literal

from nvc_jax.codec.schedule import QpOffsets
from nvc_jax.errors import ConfigError
from nvc_jax.models.config import CodecConfig
from nvc_jax.spec import QP_LEVELS, QP_OFFSETS

ALL = "all"  # networks
DEMO = "demo"  # data source that needs no files
PICTURES, NO_TEACHER = "picture", "none"  # kinds of distillation


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage of a run. Parameters carry over from stage to stage.

    Attributes:
        name: label in the metrics.
        frames: frames per clip; 1 for pictures.
        steps: number of batches; 0 if `epochs` is given.
        epochs: passes over the clips; resolved to steps when a run starts.
        batch: clips per step, over all devices of all processes.
        size: side of the square crops in pixels, a multiple of 16.
        train: the network that is updated, by name; the others are frozen. "all" updates all of them.
        mode: "cascaded" unrolls the clip and makes one update; "plain" makes one per coded frame, with the reference
            detached.
        learning_rate: peak learning rate.
        warmup_steps: length of the linear warm-up.
        decay_from: share of the stage after which the learning rate decays by half a cosine.
        final_share: final learning rate as a share of the peak; 1 keeps it constant.
        clip_norm: global norm to which gradients are clipped.
        first_reference: what the second packet is predicted from: the coded pictures of the first, or the original.
        references: of codecs without an intra network, whose clips begin with a picture that is not coded: shares of
            clips predicted from a blank picture, from the true one and from that with noise (spec ui2c, section 2);
            named ones: references.py.
        reference_noise: largest deviation of that noise, in 0..1 of the range of samples.
        refresh: packets from one that starts from pictures to the next; 0 for only the first. With motion all do.
        remat: recompute activations in the backward pass instead of keeping them.
        skip: with motion, skip the blocks that an encoder would.
        rounded: run the networks with parameters as exported (`significant_bits`, `int8_kernels`); gradients pass
            straight through.
        distil: weight of the distance from the teacher in the loss (`Teacher`); 0 runs without one.
        share: share of the time in a run with --seconds; 0 in all stages divides it by their computation.
        carry_optimiser: keep the optimiser state of the stage before.
    """

    name: str
    frames: int
    steps: int = 0
    epochs: float = 0.0
    batch: int = 8
    size: int = 128
    train: str = ALL
    mode: Literal["plain", "cascaded"] = "cascaded"
    learning_rate: float = 1e-4
    warmup_steps: int = 0
    decay_from: float = 0.0
    final_share: float = 1.0
    clip_norm: float = 0.2
    first_reference: Literal["coded", "original"] = "coded"
    references: tuple[float, float, float] = (1.0, 1.0, 1.0)
    reference_noise: float = 0.1
    refresh: int = 0
    remat: bool = False
    skip: bool = False
    rounded: bool = False
    distil: float = 0.0
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
        if not (self.learning_rate > 0 and self.clip_norm > 0 and self.warmup_steps >= 0 and self.refresh >= 0):
            raise ConfigError(f"{where}: learning_rate, clip_norm must be above 0; warmup_steps, refresh at least 0.")
        if min(self.references) < 0 or not sum(self.references) > 0 or not self.reference_noise >= 0:
            raise ConfigError(f"{where}: references and reference_noise must be at least 0, and one share above 0.")
        if not (self.share >= 0 and self.distil >= 0):
            raise ConfigError(f"{where}: share is {self.share} and distil {self.distil}; they must be at least 0.")
        if not (0 <= self.decay_from <= 1 and 0 <= self.final_share <= 1):
            raise ConfigError(f"{where}: decay_from and final_share must be from 0 to 1.")


@dataclasses.dataclass(frozen=True)
class Data:
    """Training clips and their augmentation.

    Attributes:
        source: a folder of videos, of folders of PNGs, or of Vimeo-90k septuplets; "demo" generates a clip.
        epoch: "clips" draws every clip once per epoch; "windows" as often as windows of the stage fit into it.
        skip: largest distance of consecutive frames of a window; it is drawn from 1 on.
        reverse: probability of playing a window backwards.
        flip: probability of mirroring left to right.
        flip_vertical: probability of mirroring upside down.
        scale: range of source pixels per crop pixel.
        small: pad clips smaller than a crop at its largest scale by repeating their edges, or skip them.
        memory_mb: decoded sets up to this size are kept in memory.
        threads: number of threads that prepare batches.
        prefetch: number of batches prepared ahead.
        on_device: keep all clips decoded in the memory of every device and cut batches there, several steps per call.
            For small sets on a fast device. Clips are then drawn with replacement, and `scale` goes from 1 to a whole
            number, the side of a box filter.
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
        qp_offsets: added to the base qp of inter frame n, by n modulo their number; stored with the model.
        intra_qp_offset: added to the base qp of pictures that start a run, at most up to 63; stored with the model.
            Lambda follows it. Without an intra network those are the first pictures after a blank reference.
        frame_weights: (qp offset, weight of the distortion) of inter frames.
        balance: power of lambda that divides the loss of a sample. 0 is the official loss, where large qps dominate
            the gradient; 0.5 balances all qps.
        random_position: draw the hierarchy position of a clip's first inter frame, instead of the second one, so that
            short clips train all offsets.
    """

    intra_lambda: tuple[float, float] = (10.0, 2048.0)
    inter_lambda: tuple[float, float] = (1.0, 768.0)
    qp_offsets: tuple[int, ...] = QP_OFFSETS
    intra_qp_offset: int = 0
    frame_weights: tuple[tuple[int, float], ...] = ((0, 0.5), (8, 1.2), (4, 0.9))
    balance: float = 0.0
    random_position: bool = False

    def __post_init__(self) -> None:
        QpOffsets(self.qp_offsets, self.intra_qp_offset)
        missing = set(self.qp_offsets) - dict(self.frame_weights).keys()
        if missing:
            raise ConfigError(f"loss.frame_weights has no weight for the qp offsets {sorted(missing)}.")
        if min(*self.intra_lambda, *self.inter_lambda) <= 0:
            raise ConfigError("loss.intra_lambda and loss.inter_lambda must be above 0.")
        if not self.balance >= 0:
            raise ConfigError(f"loss.balance is {self.balance}; it must be at least 0.")


@dataclasses.dataclass(frozen=True)
class Optimiser:
    """Optimiser and its hyperparameters.

    Attributes:
        name: "muon" orthogonalises the updates of matrices and 3x3 kernels, with AdamW for the rest.
        beta1: decay of Adam's first moment.
        beta2: decay of Adam's second moment.
        epsilon: of Adam's denominator.
        weight_decay: decoupled, per unit of the learning rate; none with "adam".
        muon_scale: learning rate of the orthogonalised updates, as a multiple of the stage's.
        scales: (substring of parameter names, multiple of the stage's learning rate); a name is e.g.
            `inter/decoder_up/kernel`, and the last match wins. 0 keeps parameters as they are, bit for bit, and out of
            `clip_norm`: (("", 0.0), ("inter/decoder", 1.0)) trains the inter network's decoder alone.
        row_reach: standard deviation, in qps, of a Gaussian that spreads the gradient of a row of a quality bank or of
            z's prior to its neighbours, so that a sample trains more than one of 64 rows. 0 for none.
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
            raise ConfigError("optimiser.row_reach and the multiples in optimiser.scales must be at least 0.")
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ConfigError(f"optimiser.beta1 is {self.beta1} and beta2 {self.beta2}; from 0 to below 1.")
        if not (self.epsilon > 0 and self.weight_decay >= 0):
            raise ConfigError("optimiser.epsilon must be above 0 and optimiser.weight_decay at least 0.")


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A trained model that the network of all packets but the first learns from (distillation.py), in `Stage.distil`.

    It codes the same pictures at the same qps as its student, from the same first picture, and goes on from its own
    features.

    Attributes:
        model: model directory or packaged model; empty if there is none.
        start: also start from its parameters, as with `init`, where that is empty.
        kind: what is compared by its mean squared difference: "efd" energy signatures of features, "mse" features,
            "picture" decoded pictures, weighted as their distortion is, "none" nothing.
        features: "context" of encoder and decoder, decoder "feature", "patches" that make the picture.
        cells: of a side of an energy signature.
    """

    model: str = ""
    start: bool = True
    kind: Literal["efd", "mse", "picture", "none"] = "efd"
    features: tuple[Literal["context", "feature", "patches"], ...] = ("context", "feature", "patches")
    cells: int = 8

    def __post_init__(self) -> None:
        if not self.features or self.cells < 1:
            raise ConfigError("teacher.features must name a feature, and teacher.cells must be at least 1.")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Periodic evaluation with real streams.

    Attributes:
        steps: interval of evaluations; 0 for none.
        source: a folder of videos, or "demo".
        frames: coded frames of each video.
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
    """Logs and checkpoints of a run.

    Attributes:
        checkpoint_steps: interval of checkpoints.
        keep: number of checkpoints kept.
        tensorboard: also write event files for TensorBoard.
    """

    checkpoint_steps: int = 1000
    keep: int = 3
    tensorboard: bool = True

    def __post_init__(self) -> None:
        if min(self.checkpoint_steps, self.keep) < 1:
            raise ConfigError("logging.checkpoint_steps and logging.keep must be at least 1.")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Configuration of `train.py`. Settings that change no result (`settings.NEUTRAL`) may change when a run resumes.

    Attributes:
        codec: architecture.
        stages: in the order of training.
        data: training clips.
        loss: rate-distortion loss.
        optimiser: optimiser of all stages.
        teacher: of a distilled student.
        evaluation: periodic evaluation.
        logging: logs and checkpoints.
        init: model directory or packaged model to start from; random parameters if empty. Parameters whose name
            and shape agree are taken from another architecture (adoption.py).
        transform_init: start as a transform codec (transform_init.py) rather than from random parameters.
        precision: of the networks; parameters, loss and entropy stay float32.
        strategy: "auto" has C++ compute DC blocks and their gradients where it can: in float32, on CPUs with AVX2 or
            AVX-512; "xla" leaves them to XLA. Results differ by roundings.
        average_decay: decay of the exponential moving average of the parameters, which is exported; 0 for none.
        significant_bits: of the exported parameters: 24 is float32, up to 11 fit into float16, half the size. Fewer
            lower the PSNR of high qps, unless the last stage is `rounded`.
        int8_kernels: export most kernels as int8, a byte a parameter, the others as `significant_bits` says; needs a
            last stage that is `rounded`. Models evaluated before that stage are rounded too, and worse for it.
        steps_per_call: with `data.on_device`, steps in one call of the device.
        max_bad_steps: consecutive steps without a finite gradient after which a run stops.
        seed: of parameters, crops, qps and noise.
    """

    codec: CodecConfig
    stages: tuple[Stage, ...]
    data: Data = Data()
    loss: Loss = Loss()
    optimiser: Optimiser = Optimiser()
    teacher: Teacher = Teacher()
    evaluation: Evaluation = Evaluation()
    logging: Logging = Logging()
    init: str = ""
    transform_init: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    strategy: Literal["auto", "xla"] = "auto"
    average_decay: float = 0.0
    significant_bits: int = 24
    int8_kernels: bool = False
    steps_per_call: int = 10
    max_bad_steps: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("a training run needs at least one stage.")
        if self.stages[0].carry_optimiser:
            raise ConfigError("stages.0.carry_optimiser is true, but there is no stage before it.")
        if self.start and self.transform_init:
            raise ConfigError("init and transform_init exclude each other; set transform_init=false.")
        if not 0 <= self.average_decay < 1 or not 1 <= self.significant_bits <= 24 or self.max_bad_steps < 1:
            raise ConfigError("average_decay must be in 0..1, significant_bits in 1..24, max_bad_steps at least 1.")
        if self.int8_kernels and not self.stages[-1].rounded:
            last = len(self.stages) - 1
            raise ConfigError(f"int8_kernels needs a last stage that trains for them; set stages.{last}.rounded=true.")
        if self.steps_per_call < 1 or self.seed < 0:
            raise ConfigError(f"steps_per_call is {self.steps_per_call} and seed {self.seed}; at least 1, and 0.")
        if len({stage.share > 0 for stage in self.stages}) > 1:
            raise ConfigError("stages.N.share is 0 in some stages only; set it above 0 in all of them or in none.")
        for stage in self.stages:
            if self.codec.rest not in self.trained(stage) and stage.distil:
                raise ConfigError(
                    f"stage {stage.name!r}: distil is {stage.distil}, but {self.codec.rest} is not trained."
                )

    @property
    def start(self) -> str:
        """The model to start from; empty for initial values."""
        return self.init or (self.teacher.model if self.teacher.start else "")

    def taught(self, stage: Stage) -> bool:
        """True for a stage with a teacher."""
        return stage.distil > 0 and self.teacher.kind != NO_TEACHER

    @property
    def begin(self) -> int:
        """Pictures of a clip before its packets of `codec.rest`: those of the first packet, or a reference."""
        return self.codec[self.codec.first].pictures if self.codec.first != self.codec.rest else 1

    def trained(self, stage: Stage) -> tuple[str, ...]:
        """The networks that a stage updates: the first alone where clips have no packet after it.

        Raises:
            ConfigError: the stage does not fit the codec.
        """
        codec, where = self.codec, f"stage {stage.name!r}"
        known = [ALL, *(name for name, _ in codec.networks)]
        if stage.train not in known:
            raise ConfigError(f"{where}: train is {stage.train!r}; it must be one of {', '.join(known)}.")
        alone, length = codec.first != codec.rest, codec[codec.rest].pictures
        packets, left = divmod(stage.frames - self.begin, length)
        if left or packets < (0 if alone else 1):
            least = self.begin + (0 if alone else length)
            raise ConfigError(
                f"{where}: frames is {stage.frames}; {codec.name} takes {least} and multiples of {length} more."
            )
        coding = tuple(dict.fromkeys((codec.first, codec.rest) if packets else (codec.first,)))
        names = coding if stage.train == ALL else (stage.train,)
        if not set(names) <= set(coding) or (packets and names == (codec.first,) != coding):
            raise ConfigError(
                f"{where}: frames is {stage.frames} with train={stage.train}; set train to {coding[-1]} or {ALL}, or "
                f"frames to {self.begin if stage.train == codec.first else self.begin + length}."
            )
        if stage.first_reference == "original" and alone and codec.first in names:
            raise ConfigError(f"{where}: first_reference=original bypasses {codec.first}; set train={codec.rest}.")
        return names

    @property
    def steps(self) -> int:
        """Count the batches of all stages; epochs must be resolved."""
        return sum(stage.steps for stage in self.stages)

    def shares(self) -> list[float]:
        """Divide the time of a run with --seconds among its stages."""
        given = [stage.share for stage in self.stages]
        if not all(given):
            given = [float(stage.steps * stage.batch * stage.frames * stage.size**2) for stage in self.stages]
        return [share / sum(given) for share in given]

    def stage_starts(self) -> list[tuple[int, int]]:
        """Count the steps and clips of the run before each stage."""
        starts, step, sample = [], 0, 0
        for stage in self.stages:
            starts.append((step, sample))
            step, sample = step + stage.steps, sample + stage.steps * stage.batch
        return starts


def resolved(config: TrainConfig, epoch_clips: list[int]) -> TrainConfig:
    """Replace epochs by steps.

    Args:
        config: the run.
        epoch_clips: number of clips in an epoch of each stage.
    """

    def in_steps(stage: Stage, clips: int) -> Stage:
        if stage.steps:
            return stage
        return dataclasses.replace(stage, steps=max(1, math.ceil(stage.epochs * clips / stage.batch)), epochs=0.0)

    stages = tuple(map(in_steps, config.stages, epoch_clips))
    return dataclasses.replace(config, stages=stages)
