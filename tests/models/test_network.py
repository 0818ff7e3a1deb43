"""The protocol of networks: no registered one leaves an abstract method out."""

import pytest

from nvc_jax.models.network import Network
from nvc_jax.models.networks import CLASSES

STAGES = {"features", "context", "analyse", "prior", "refine", "synthesise", "reconstruct"}
ABSTRACT = STAGES | {"fixed_units", "apply_side", "reconsider"}


@pytest.mark.parametrize(("config", "network"), CLASSES.items(), ids=lambda kind: kind.__name__)
def test_every_network_has_its_own(config, network):
    own = set().union(*(vars(kind) for kind in network.__mro__ if issubclass(kind, Network) and kind is not Network))
    needless = set() if network.predicts else {"features", "context"}
    needless |= set() if config().side else {"apply_side", "reconsider"}
    assert ABSTRACT - own == needless
    assert network.modules.keys() == STAGES - needless | {"z_cdf"}
