"""Architectures as data: a codec is one frozen dataclass (D9)."""

import dataclasses
from typing import Any, ClassVar, Self

from nvc_jax.errors import ConfigError
from nvc_jax.spec import FIXED_SCALE, QP_LEVELS, QP_OFFSETS

PATCH = 8  # pictures enter and leave the networks as 8x8 patches, spec 2
PATCH_CHANNELS = 3 * PATCH * PATCH


def _check_fields(config: "Stack | NetworkConfig") -> None:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(field.default, Stack):
            if not isinstance(value, Stack):
                raise ConfigError(f"{type(config).__name__}.{field.name} is {value!r}; it must be a Stack.")
            continue
        if isinstance(field.default, bool):
            if type(value) is not bool:
                raise ConfigError(f"{type(config).__name__}.{field.name} is {value!r}; it must be true or false.")
            continue
        low, high = field.metadata.get("range", (1, 8192))
        if type(value) is not int or not low <= value <= high:
            where = f"{type(config).__name__}.{field.name}"
            raise ConfigError(f"{where} is {value!r}; it must be an integer of {low} to {high}.")


@dataclasses.dataclass(frozen=True)
class Stack:
    """DC blocks one after the other.

    Attributes:
        blocks: their number.
        width: channels.
        middle: channels between the 1x1 convolutions of the FFN, before their halves are added, in multiples of width.
    """

    blocks: int
    width: int
    middle: int = 4

    def __post_init__(self) -> None:
        _check_fields(self)
        if self.middle not in (1, 2, 4) or self.middle * self.width % 2:
            raise ConfigError(f"Stack.middle is {self.middle}; it must be 1, 2 or 4, and an even number of channels.")


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Facts of any network, as the coding loop needs them.

    Attributes:
        width: channels at 1/8 between the modules.
        latent: channels of y at 1/16, a multiple of `steps`.
        hyper: channels of z at 1/64.
        qp_rows: rows of the quality banks.
        pictures: of a packet.
        steps: in which y is coded.
    """

    width: int = 256
    latent: int = 128
    hyper: int = 128
    qp_rows: int = 72

    pictures: ClassVar[int] = 1
    steps: ClassVar[int] = 2

    @property
    def fine(self) -> bool:
        """True for `fine_pictures`, where a network has that field."""
        return getattr(self, "fine_pictures", False)

    @property
    def side(self) -> str | None:
        """The side information of a packet (`entropy.coder.SIDE_INFORMATION`), if any."""
        return None

    def __post_init__(self) -> None:
        _check_fields(self)
        if self.latent % self.steps:
            raise ConfigError(
                f"{type(self).__name__}.latent is {self.latent}; it must be a multiple of {self.steps} (coding steps)."
            )
        if self.fine and PATCH_CHANNELS in self._widths_beside_pictures():
            where = f"{type(self).__name__}.fine_pictures"
            raise ConfigError(f"{where} needs widths other than {PATCH_CHANNELS}: only adaptors change units.")
        for name, value in vars(self).items():
            width = value.width if isinstance(value, Stack) else value if name == "width" else 0
            if width % self.pictures:  # each has an equal part of a quality bank
                where = f"{type(self).__name__}.{name}"
                raise ConfigError(f"{where} is {width} wide; it must be a multiple of {self.pictures} (pictures).")

    def _widths_beside_pictures(self) -> tuple[int, ...]:
        """Those that DC blocks take pictures to, or make them of."""
        return (self.width,)

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary for JSON, part of the identity of models (D12).

        Fields of format 1 are always there, a later one where it differs from its default: a new field orphans neither
        models nor streams.
        """
        data: dict[str, Any] = {}
        for name, keys in self._keys().items():
            value = getattr(self, name)
            for key, number in zip(keys, dataclasses.astuple(value) if isinstance(value, Stack) else [value]):  # noqa: B905
                data.setdefault(key, number)
        format_1 = self.from_dict(data)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != getattr(format_1, field.name):
                data[field.name] = dataclasses.asdict(value) if isinstance(value, Stack) else value
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            ConfigError: a value is out of range.
            KeyError, TypeError: a key is unknown or missing.
        """
        keys = cls._keys()
        values = {name: [data[key] for key in mine] for name, mine in keys.items()}
        fields: dict[str, Any] = {name: mine[0] if len(mine) == 1 else Stack(*mine) for name, mine in values.items()}
        known = {key for mine in keys.values() for key in mine}
        for name in data.keys() - known | data.keys() & keys.keys():
            fields[name] = Stack(**data[name]) if isinstance(data[name], dict) else data[name]
        return cls(**fields)

    @classmethod
    def _keys(cls) -> dict[str, tuple[str, ...]]:
        """The fields of format 1 and their keys in it."""
        fields = dataclasses.fields(cls)
        return {field.name: field.metadata["keys"] or (field.name,) for field in fields if "keys" in field.metadata}


def _kept(default: Any, *keys: str) -> Any:
    """A field of format 1; keys: of the blocks and the width of a stack, where stacks shared their widths."""
    return dataclasses.field(default=default, metadata={"keys": keys})


def _deblocking() -> Any:
    """The field of `ops.deblocking`'s strength."""
    return dataclasses.field(default=0, metadata={"range": (0, FIXED_SCALE)})


@dataclasses.dataclass(frozen=True)
class IntraConfig(NetworkConfig):
    """The intra network (spec 3).

    Attributes:
        encoder: between the first block and the stride-2 convolution.
        decoder: after the up-sampling and before the last block.
        fusion: prior fusion.
        spatial: the trunk that the three later coding steps share.
        deblocking: strength of the filter of block edges (ops/deblocking.py); 0 is none.
        fine_pictures: int16 pictures are in 1/4096 instead of 1/512 (docs/INT16.md, section 5). Networks that hand
            pictures to each other agree on it.
    """

    width: int = _kept(368)
    encoder: Stack = _kept(Stack(6, 368), "encoder_blocks", "width")
    decoder: Stack = _kept(Stack(12, 368), "decoder_blocks", "width")
    latent: int = _kept(256)
    hyper: int = _kept(128)
    fusion: Stack = _kept(Stack(3, 512), "fusion_blocks", "prior_width")
    spatial: Stack = _kept(Stack(3, 512), "spatial_blocks", "prior_width")
    qp_rows: int = _kept(64)
    deblocking: int = _deblocking()
    fine_pictures: bool = False

    steps: ClassVar[int] = 4

    def _widths_beside_pictures(self) -> tuple[int, ...]:
        return self.width, self.decoder.width


@dataclasses.dataclass(frozen=True)
class InterConfig(NetworkConfig):
    """The inter network (spec 2).

    Attributes:
        temporal_width: channels that the temporal prior gives to prior fusion.
        extractor_prior: the part of the feature extractor that feeds the temporal prior.
        extractor_context: the part that gives the context of encoder and decoder.
        encoder: of the picture, beside the context.
        decoder: of the latent, beside the context.
        recon: reconstruction of the picture from the decoder feature.
        fusion: prior fusion.
        spatial: the spatial prior.
    """

    width: int = _kept(256)
    latent: int = _kept(128)
    hyper: int = _kept(128)
    temporal_width: int = _kept(256)
    extractor_prior: Stack = _kept(Stack(2, 256), "prior_blocks", "width")
    extractor_context: Stack = _kept(Stack(4, 256), "context_blocks", "width")
    encoder: Stack = _kept(Stack(3, 256), "encoder_blocks", "width")
    decoder: Stack = _kept(Stack(3, 256), "decoder_blocks", "width")
    recon: Stack = _kept(Stack(4, 320), "recon_blocks", "recon_width")
    fusion: Stack = _kept(Stack(3, 384), "fusion_blocks", "prior_width")
    spatial: Stack = _kept(Stack(2, 384), "spatial_blocks", "prior_width")
    qp_rows: int = _kept(72)


@dataclasses.dataclass(frozen=True)
class MotionInterConfig(InterConfig):
    """An inter network that predicts from the last picture, moved block by block (ops/motion.py).

    For small networks: they have neither the channels to carry a picture in a feature nor the depth to move it. The
    encoder's choices suppose about the lambdas of the embedded model.

    Attributes:
        deblocking: see `IntraConfig`.
        fine_pictures: see `IntraConfig`.
        residual: the network codes the difference from the moved picture, which is added to its output. Without, the
            prediction goes through the features, whose channels then lose a part of it in every picture.
        merged: vectors of neighbours have symbols of their own (entropy/merged_motion.py).
    """

    deblocking: int = _deblocking()
    residual: bool = False
    merged: bool = False
    fine_pictures: bool = False

    @property
    def side(self) -> str | None:
        """See `NetworkConfig`."""
        return "merged motion" if self.merged else "motion"


@dataclasses.dataclass(frozen=True)
class UnifiedConfig(InterConfig):
    """A network that codes the first picture of a sequence too, predicted from a blank one (spec ui2c).

    Attributes:
        adaptor: of the picture before, or of the blank one, after a first DC block.
    """

    adaptor: Stack = Stack(3, 384)


@dataclasses.dataclass(frozen=True)
class PairConfig(UnifiedConfig):
    """The network of UI2C: codes two pictures together.

    Attributes:
        heads: stacks that reconstruct pictures: 1 for both together, 2 for one each, of an equal part of the width.
    """

    heads: int = 1

    pictures: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads not in (1, self.pictures):
            raise ConfigError(
                f"{type(self).__name__}.heads is {self.heads}; it must be 1, for the pictures of a packet together, or "
                f"{self.pictures}, for one each."
            )

    @property
    def head(self) -> Stack:
        """The stack of one head."""
        return dataclasses.replace(self.recon, width=self.recon.width // self.heads)


NETWORK_TYPES: dict[str, type[NetworkConfig]] = {
    "intra": IntraConfig,
    "inter": InterConfig,
    "motion_inter": MotionInterConfig,
    "unified": UnifiedConfig,
    "pair": PairConfig,
}


@dataclasses.dataclass(frozen=True)
class CodecConfig:
    """The networks of a codec (D11).

    Attributes:
        name: of the codec, in messages and files.
        networks: (name, architecture) of each, the first one first.
        first: the network that starts a sequence.
        rest: the network that goes on; where it is `first`, there is one network for all packets.
    """

    name: str
    networks: tuple[tuple[str, NetworkConfig], ...]
    first: str = "intra"
    rest: str = "inter"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ConfigError(f"the name of a codec is {self.name!r}; it must be a string.")
        names = [name for name, _ in self.networks]
        if len(set(names)) < len(names) or not {self.first, self.rest} <= set(names):
            raise ConfigError(f"the codec {self.name} has the networks {names}, not {self.first!r} and {self.rest!r}.")
        in_order = sorted(self.networks, key=lambda item: (item[0] != self.first, item[0]))
        object.__setattr__(self, "networks", tuple(in_order))
        for name, network in self.networks:
            rows = QP_LEVELS + (max(QP_OFFSETS) if name == self.rest or network.pictures > 1 else 0)
            if network.qp_rows < rows:
                raise ConfigError(f"{type(network).__name__}.qp_rows is {network.qp_rows}; it must be at least {rows}.")
        if len({network.fine for _, network in self.networks}) > 1:
            raise ConfigError(f"the networks of {self.name} must all have fine_pictures, or none of them.")

    def __getitem__(self, name: str) -> Any:
        """The architecture of a network."""
        return dict(self.networks)[name]

    def network_of(self, start: bool) -> str:
        """The name of the network that codes a packet."""
        return self.first if start else self.rest

    @property
    def pictures(self) -> int:
        """Pictures of a packet, at most."""
        return max(network.pictures for _, network in self.networks)

    @property
    def side(self) -> str | None:
        """Side information that packets may carry."""
        return next((network.side for _, network in self.networks if network.side), None)

    def replace(self, name: str, network: NetworkConfig) -> "CodecConfig":
        """The codec with another architecture of one of its networks."""
        networks = tuple((key, network if key == name else old) for key, old in self.networks)
        return dataclasses.replace(self, networks=networks)

    def with_deblocking(self, strength: int) -> "CodecConfig":
        """The codec with another strength of the filter in all networks.

        Raises:
            ConfigError: it is out of range, or a network cannot filter.
        """
        changed = self
        for name, network in self.networks:
            if isinstance(network, IntraConfig | MotionInterConfig):
                changed = changed.replace(name, dataclasses.replace(network, deblocking=strength))
            elif strength:
                raise ConfigError(f"the network {name} of {self.name} has no deblocking; codecs with block motion do.")
        return changed

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary for JSON, see `NetworkConfig.to_dict`."""
        data: dict[str, Any] = {"name": self.name}
        for name, network in self.networks:
            type_ = next(type_ for type_, kind in NETWORK_TYPES.items() if kind is type(network))
            # Format 1 had types by the names of networks, and one network with block motion.
            motion = (name, type_) == ("inter", "motion_inter")
            mark = {} if type_ == name else {"motion": True} if motion else {"type": type_}
            data[name] = network.to_dict() | mark
        order = {"first": self.first, "rest": self.rest}
        return data | {key: order[key] for key in order if order[key] != getattr(type(self), key)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "CodecConfig":
        """The inverse of `to_dict`.

        Raises:
            ConfigError: a key is unknown or missing, or a value is out of range.
        """
        try:
            parts, networks = dict(data), []
            order = {key: parts.pop(key) for key in ("name", "first", "rest") if key in parts}
            for name, part in parts.items():
                if not isinstance(part, dict):
                    raise TypeError(f"{name!r} is no network")
                fields = dict(part)
                if name == "inter" and "type" not in fields and isinstance(fields.get("motion"), bool):
                    fields["type"] = "motion_inter" if fields.pop("motion") else name
                networks.append((name, NETWORK_TYPES[fields.pop("type", name)].from_dict(fields)))
            return cls(networks=tuple(networks), **order)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"not a codec configuration ({error}); was it written by a newer version?") from error
