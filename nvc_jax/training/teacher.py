"""The teacher of a run: its network, and its parameters on the devices."""

import dataclasses

import numpy as np

from nvc_jax.codec.store import load_model
from nvc_jax.errors import ConfigError
from nvc_jax.models.config import CodecConfig, NetworkConfig
from nvc_jax.models.network import Network
from nvc_jax.models.networks import networks
from nvc_jax.models.params import ParamTree, flatten
from nvc_jax.training.config import NO_TEACHER, PICTURES, TrainConfig
from nvc_jax.training.distillation import channels


@dataclasses.dataclass(frozen=True)
class LoadedTeacher:
    """A teacher ready to run.

    Attributes:
        network: what codes its packets after the first.
        params: of it.
        identity: of its model.
        line: for the user.
    """

    network: Network
    params: ParamTree
    identity: str
    line: str


def load_teacher(config: TrainConfig) -> LoadedTeacher | None:
    """Load the teacher of the stages that have one; None if none has.

    Raises:
        ModelError: there is no such model.
        ConfigError: no model is given, or its features cannot be compared with those of the student.
    """
    settings = config.teacher
    taught = [stage for stage in config.stages if config.taught(stage)]
    if not taught:
        return None
    if not settings.model:
        raise ConfigError(
            f"stage {taught[0].name!r} is distilled from a teacher; set teacher.model=DIR, or "
            f"teacher.kind={NO_TEACHER} to train without one."
        )
    stored = load_model(settings.model)
    if stored.precision == "int16":
        raise ConfigError(f"teacher {settings.model}: is an int16 model, with features that are no real numbers.")
    network = teacher_network(config, stored.config)
    params = stored.params[stored.config.rest]
    size = sum(np.size(leaf) for leaf in flatten(params).values()) / 1e6
    what = "decoded pictures" if settings.kind == PICTURES else ", ".join(settings.features)
    line = f"{settings.model}, {size:.1f} M parameters, {settings.kind} of {what}"
    return LoadedTeacher(network, params, stored.identity, line)


def teacher_network(config: TrainConfig, codec: CodecConfig) -> Network:
    """The network of a teacher's architecture that codes its packets after the first.

    Raises:
        ConfigError: its features cannot be compared with those of the student.
    """
    where = f"teacher {config.teacher.model or codec.name}"
    theirs, mine = codec[codec.rest], config.codec[config.codec.rest]
    if theirs.pictures != mine.pictures:
        raise ConfigError(
            f"{where}: {codec.name} codes {_pictures(theirs)}, {config.codec.name} {_pictures(mine)}; a teacher and "
            "its student code the same packets."
        )
    if config.teacher.kind != PICTURES:
        found, wanted = channels(theirs), channels(mine)
        for name in config.teacher.features:
            if found[name] != wanted[name]:
                raise ConfigError(
                    f"{where}: its {name} has {found[name]} channels, that of {config.codec.name} {wanted[name]}; "
                    f"leave {name} out of teacher.features, or name another teacher."
                )
    return networks(codec)[codec.rest]


def _pictures(network: NetworkConfig) -> str:
    count = network.pictures
    return f"{count} picture{'s' * (count > 1)} in a packet"
