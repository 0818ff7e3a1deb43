"""The codecs: architectures by name, each a `CodecConfig` (D9)."""

import dataclasses
from typing import Any

from nvc_jax.models.config import CodecConfig, InterConfig, IntraConfig, MotionInterConfig, PairConfig, Stack


def _codec(name: str, intra: IntraConfig, inter: InterConfig) -> CodecConfig:
    return CodecConfig(name, (("intra", intra), ("inter", inter)))


def _small_intra(width: int, blocks: tuple[int, int], prior: int, **fields: Any) -> IntraConfig:
    """With so many blocks in encoder and decoder, and one in each stack of the prior."""
    encoder, decoder = (Stack(count, width) for count in blocks)
    one = Stack(1, prior)
    return IntraConfig(width=width, encoder=encoder, decoder=decoder, fusion=one, spatial=one, **fields)


def _inter(
    kind: type[InterConfig], width: int, blocks: tuple[int, int, int, int, int], recon: int, **fields: Any
) -> Any:
    """Blocks: of both parts of the feature extractor, encoder, decoder and reconstruction."""
    names, widths = ("extractor_prior", "extractor_context", "encoder", "decoder", "recon"), (*[width] * 4, recon)
    stacks = {name: Stack(*stack) for name, stack in zip(names, zip(blocks, widths, strict=True), strict=True)}
    return kind(**{"width": width, **stacks, **fields})


def _small_inter(
    kind: type[InterConfig],
    width: int,
    prior: int,
    blocks: tuple[int, int, int, int, int] = (1, 1, 1, 1, 1),
    **fields: Any,
) -> Any:
    """With one block in each stack of the prior."""
    one = Stack(1, prior)
    return _inter(kind, width, blocks, width, fusion=one, spatial=one, **fields)


def _moving_inter(width: int, blocks: tuple[int, int, int, int, int]) -> Any:
    """With block motion, as the default model has it."""
    return _small_inter(
        MotionInterConfig,
        width,
        160,
        blocks,
        latent=256,
        hyper=32,
        temporal_width=128,
        residual=True,
        merged=True,
        fine_pictures=True,
    )


def _student(name: str, teacher: CodecConfig, **stacks: Stack) -> CodecConfig:
    """The codec with other stacks in its inter network."""
    return dataclasses.replace(teacher.replace("inter", dataclasses.replace(teacher["inter"], **stacks)), name=name)


dcvc_rt = _codec("dcvc_rt", IntraConfig(), InterConfig())

# Candidate B of spec 13, inferred: the channel list of DCVC-RT-Large was never published; this one matches its
# published number of operations and, as the paper says, has both more channels and more blocks.
dcvc_rt_large = _codec("dcvc_rt_large", IntraConfig(), _inter(InterConfig, 320, (3, 7, 4, 5, 4), 480))

# The students of KD-NVC: the entropy model and the encoder are their teacher's, DCVC-RT's (spec kd_nvc).
kd_nvc_s = _codec("kd_nvc_s", IntraConfig(), _inter(InterConfig, 256, (2, 2, 3, 1, 4), 160))
kd_nvc_t = _codec(
    "kd_nvc_t",
    IntraConfig(),
    InterConfig(
        extractor_prior=Stack(2, 256, middle=2),
        extractor_context=Stack(2, 256, middle=2),
        decoder=Stack(1, 256, middle=2),
        recon=Stack(2, 160),
    ),
)

# Inferred (spec ui2c, section 4): matches the published parameters and operations; the adaptor is the least certain.
ui2c = CodecConfig("ui2c", (("pair", _inter(PairConfig, 384, (2, 6, 3, 3, 4), 640)),), first="pair", rest="pair")

# The default of the models in the package: small enough to train on a CPU and to carry in the repository. The intra
# network codes few pictures, and may be deeper.
embedded = _codec(
    "embedded",
    _small_intra(96, (2, 3), 128, latent=256, hyper=32, fine_pictures=True),
    _moving_inter(112, (1, 1, 2, 2, 1)),
).with_deblocking(38)

# Prepared, not trained yet: wider, for a GPU.
embedded_v2 = _codec(
    "embedded_v2",
    _small_intra(112, (2, 3), 128, latent=256, hyper=32, fine_pictures=True),
    _moving_inter(128, (1, 1, 1, 1, 1)),
).with_deblocking(38)

# DCVC-RT and UI2C small enough to train on a CPU, of the same cost per picture: to compare, and as teachers.
rt_small = _codec(
    "rt_small",
    _small_intra(104, (2, 3), 128, latent=128, hyper=32),
    _small_inter(InterConfig, 128, 160, (2, 2, 2, 2, 2), latent=96, hyper=32, temporal_width=128),
)

# Students of rt_small, as those of KD-NVC are of DCVC-RT: about the same shares of blocks, channels and FFNs.
kd_small_s = _student(
    "kd_small_s",
    rt_small,
    extractor_prior=Stack(1, 128),
    extractor_context=Stack(1, 128),
    decoder=Stack(1, 128),
    recon=Stack(2, 64),
)
kd_small_t = _student(
    "kd_small_t",
    rt_small,
    extractor_prior=Stack(1, 128, middle=2),
    extractor_context=Stack(1, 128, middle=2),
    decoder=Stack(1, 128, middle=2),
    recon=Stack(1, 64),
)

ui2c_small = CodecConfig(
    "ui2c_small",
    (
        (
            "pair",
            _small_inter(
                PairConfig,
                184,
                192,
                (2, 2, 2, 2, 2),
                latent=128,
                hyper=32,
                temporal_width=184,
                adaptor=Stack(1, 184),
            ),
        ),
    ),
    first="pair",
    rest="pair",
)

# For tests: every module is there, as small as it can be.
tiny = _codec(
    "tiny",
    _small_intra(16, (1, 1), 16, latent=16, hyper=8),
    _small_inter(InterConfig, 16, 16, latent=16, hyper=8, temporal_width=16),
)

CONFIGS = {
    config.name: config
    for config in (
        dcvc_rt,
        dcvc_rt_large,
        kd_nvc_s,
        kd_nvc_t,
        ui2c,
        embedded,
        embedded_v2,
        rt_small,
        kd_small_s,
        kd_small_t,
        ui2c_small,
        tiny,
    )
}
