"""The networks of a codec by name."""

from nvc_jax.models.config import (
    CodecConfig,
    InterConfig,
    IntraConfig,
    MotionInterConfig,
    NetworkConfig,
    PairConfig,
    UnifiedConfig,
)
from nvc_jax.models.inter import Inter
from nvc_jax.models.intra import Intra
from nvc_jax.models.motion import MotionInter
from nvc_jax.models.network import Network
from nvc_jax.models.pair import Pair, Unified

CLASSES: dict[type[NetworkConfig], type[Network]] = {
    IntraConfig: Intra,
    InterConfig: Inter,
    MotionInterConfig: MotionInter,
    UnifiedConfig: Unified,
    PairConfig: Pair,
}


def networks(config: CodecConfig) -> dict[str, Network]:
    """The networks of a codec, by the key of their parameters and tables."""
    return {name: CLASSES[type(network)](network) for name, network in config.networks}
