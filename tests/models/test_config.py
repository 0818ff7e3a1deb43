"""Architectures as data, and the identity that models and streams keep while the classes grow (D12)."""

import dataclasses
import json

import pytest
import synthetic

from nvc_jax.codec.store import load_model, make_model
from nvc_jax.errors import ConfigError
from nvc_jax.models import config as config_module
from nvc_jax.models.codecs import CONFIGS, dcvc_rt, tiny
from nvc_jax.models.config import (
    NETWORK_TYPES,
    CodecConfig,
    InterConfig,
    IntraConfig,
    MotionInterConfig,
    PairConfig,
    Stack,
    UnifiedConfig,
)
from nvc_jax.models.networks import CLASSES
from nvc_jax.models.params import flatten, parameter_shapes, unflatten

DESCRIPTIONS = [config.to_dict() for config in CONFIGS.values()]


def there_and_back(config):
    return CodecConfig.from_dict(json.loads(json.dumps(config.to_dict())))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_there_and_back(config):
    assert there_and_back(config) == config


def test_format_1_is_written_as_it_was():
    """Keys and values in the description of the first models; identities hold them."""
    assert tiny.to_dict() == {
        "name": "tiny",
        "intra": {
            "width": 16, "encoder_blocks": 1, "decoder_blocks": 1, "latent": 16, "hyper": 8, "prior_width": 16,
            "fusion_blocks": 1, "spatial_blocks": 1, "qp_rows": 64,
        },
        "inter": {
            "width": 16, "recon_width": 16, "latent": 16, "hyper": 8, "temporal_width": 16, "prior_width": 16,
            "prior_blocks": 1, "context_blocks": 1, "encoder_blocks": 1, "decoder_blocks": 1, "recon_blocks": 1,
            "fusion_blocks": 1, "spatial_blocks": 1, "qp_rows": 72,
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("network", "change", "written"),
    [
        ("intra", {"encoder": Stack(2, 16)}, {"encoder_blocks": 2}),
        ("intra", {"encoder": Stack(1, 24)}, {"encoder": {"blocks": 1, "width": 24, "middle": 4}}),
        ("intra", {"fusion": Stack(1, 32), "spatial": Stack(1, 32)}, {"prior_width": 32}),
        ("intra", {"spatial": Stack(3, 32)}, {"spatial_blocks": 3, "spatial": {"blocks": 3, "width": 32, "middle": 4}}),
        ("inter", {"recon": Stack(4, 32)}, {"recon_blocks": 4, "recon_width": 32}),
        ("inter", {"recon": Stack(1, 16, 2)}, {"recon": {"blocks": 1, "width": 16, "middle": 2}}),
        ("inter", {"extractor_prior": Stack(1, 16, 1)}, {"extractor_prior": {"blocks": 1, "width": 16, "middle": 1}}),
    ],
)
def test_stacks_are_written_by_the_keys_of_format_1_where_these_can_say_them(network, change, written):
    """Blocks and width of format 1, and the whole stack where another width or FFN is meant."""
    changed = tiny.replace(network, dataclasses.replace(tiny[network], **change))
    before, after = (config.to_dict()[network] for config in (tiny, changed))
    assert {key: value for key, value in after.items() if before.get(key) != value} == written
    assert there_and_back(changed) == changed


@pytest.fixture(scope="module")
def model():
    """A model made before the classes grow."""
    return synthetic.tiny_model()


@pytest.fixture
def grown(monkeypatch):
    """Every class of an architecture with one more field and one more stack, which do nothing so far."""
    for type_, old in NETWORK_TYPES.items():
        more = [("later", int, 7), ("later_stack", Stack, Stack(1, 16))]
        new = dataclasses.make_dataclass(old.__name__, more, bases=(old,), frozen=True)
        monkeypatch.setitem(config_module.NETWORK_TYPES, type_, new)
        monkeypatch.setitem(CLASSES, new, CLASSES[old])


@pytest.mark.usefixtures("grown")
def test_a_new_field_orphans_neither_models_nor_streams():
    """A model from before loads, and all architectures are described as they were."""
    packaged = load_model("embedded_v1")
    assert packaged.config["inter"].later == 7
    first = "217e25c58ba9840e847a62687e6ac9eba9630ca1f8a4334ec3ba187e59abe14f"  # before the class grew, and deblocking
    assert packaged.for_stream(first).identity == first
    assert packaged.with_deblocking(0).identity == first
    for description in DESCRIPTIONS:
        assert CodecConfig.from_dict(description).to_dict() == description


@pytest.mark.usefixtures("grown")
def test_a_new_field_counts_where_it_is_used(model):
    before = DESCRIPTIONS[list(CONFIGS).index("tiny")]
    grown = CodecConfig.from_dict(before)
    same = synthetic.model_of(grown)
    assert same.identity == model.identity
    for change in ({"later": 8}, {"later_stack": Stack(2, 16)}):
        config = grown.replace("inter", dataclasses.replace(grown["inter"], **change))
        assert there_and_back(config) == config
        (name,) = config.to_dict()["inter"].keys() - before["inter"].keys()
        assert name in change
        assert synthetic.model_of(config).identity != same.identity


def test_motion_is_written_only_where_it_is():
    """Identities of models hold their architecture: those of models without motion must not change."""
    assert "motion" not in tiny.to_dict()["inter"]
    moving = tiny.replace("inter", MotionInterConfig(**vars(tiny["inter"])))
    assert moving.to_dict() == tiny.to_dict() | {"inter": tiny.to_dict()["inter"] | {"motion": True}}
    assert there_and_back(moving) == moving
    assert (tiny.side, moving.side) == (None, "motion")
    missing = parameter_shapes(tiny).keys() - parameter_shapes(moving).keys()
    assert missing == {"inter/adaptor_feature/kernel", "inter/adaptor_feature/bias"}


@pytest.mark.parametrize(("field", "side"), [("residual", "motion"), ("merged", "merged motion")])
def test_forms_of_motion_are_written_only_where_they_are(model, field, side):
    moving = tiny.replace("inter", MotionInterConfig(**vars(tiny["inter"])))
    changed = moving.replace("inter", dataclasses.replace(moving["inter"], **{field: True}))
    before, after = moving.to_dict()["inter"], changed.to_dict()["inter"]
    assert after == before | {field: True}
    assert there_and_back(changed) == changed
    assert CodecConfig.from_dict(moving.to_dict() | {"inter": before | {field: False}}) == moving
    assert changed.side == side
    assert parameter_shapes(changed) == parameter_shapes(moving)
    params = unflatten({name: leaf for name, leaf in flatten(model.params).items() if name in parameter_shapes(moving)})
    identities = {make_model(config, params, "", model.tables).identity for config in (moving, changed)}
    assert len(identities) == 2
    for value in (1, 0, "true", None):
        with pytest.raises(ConfigError, match=rf"MotionInterConfig\.{field} is .* it must be true or false"):
            dataclasses.replace(moving["inter"], **{field: value})
        with pytest.raises(ConfigError):
            CodecConfig.from_dict(moving.to_dict() | {"inter": before | {field: value}})


def test_one_network_for_all_packets():
    for type_, network in (("inter", tiny["inter"]), ("motion_inter", MotionInterConfig(**vars(tiny["inter"])))):
        config = CodecConfig("one", (("only", network),), first="only", rest="only")
        assert config.to_dict().keys() == {"name", "only", "first", "rest"}
        assert config.to_dict()["only"]["type"] == type_
        assert there_and_back(config) == config
    assert [config.network_of(start) for start in (True, False)] == ["only", "only"]
    assert {name.split("/")[0] for name in parameter_shapes(config)} == {"only"}


def test_the_first_network_comes_first():
    networks = (("next", tiny["inter"]), ("other", tiny["inter"]), ("start", tiny["intra"]))
    config = CodecConfig("three", networks, first="start", rest="next")
    assert [name for name, _ in config.networks] == ["start", "next", "other"]
    assert there_and_back(config) == config
    assert [config.network_of(start) for start in (True, False)] == ["start", "next"]


@pytest.mark.parametrize(
    ("first", "rest", "names"),
    [("intra", "later", ("intra", "inter")), ("a", "a", ("b",)), ("a", "b", ("a", "b", "b"))],
)
def test_networks_that_are_not_there(first, rest, names):
    with pytest.raises(ConfigError, match="has the networks"):
        CodecConfig("broken", tuple((name, tiny["inter"]) for name in names), first=first, rest=rest)


@pytest.mark.parametrize("network", [tiny["inter"], PairConfig()])
def test_pictures_with_offsets_need_their_rows(network):
    """All but the first one of a start packet."""
    rest = "first" if network.pictures == 1 else "rest"
    networks = (("first", dataclasses.replace(network, qp_rows=64)), ("rest", tiny["inter"]))
    with pytest.raises(ConfigError, match="qp_rows is 64; it must be at least 72"):
        CodecConfig("short", networks, "first", rest)


@pytest.mark.parametrize(
    ("field", "value"), [("width", 0), ("width", 8193), ("width", True), ("latent", 15), ("encoder", 3)]
)
def test_values_out_of_range(field, value):
    with pytest.raises(ConfigError):
        dataclasses.replace(tiny["inter"], **{field: value})


@pytest.mark.parametrize(
    ("change", "field"), [({"width": 385}, "width"), ({"recon": Stack(1, 5)}, "recon"), ({"latent": 127}, "latent")]
)
def test_widths_that_the_pictures_of_a_packet_cannot_share(change, field):
    with pytest.raises(ConfigError, match=rf"PairConfig\.{field} .* must be a multiple of 2"):
        PairConfig(**change)


def test_heads():
    """Described only where each picture has one of its own: models of before keep their identity."""
    assert "heads" not in PairConfig().to_dict()
    two = PairConfig(heads=2)
    assert two.to_dict() == PairConfig().to_dict() | {"heads": 2}
    assert PairConfig.from_dict(two.to_dict()) == two
    for heads in (0, 3, True):
        with pytest.raises(ConfigError, match=r"PairConfig\.heads is"):
            PairConfig(heads=heads)


@pytest.mark.parametrize("stack", [(0, 16), (1, 0), (1, 16, 3), (1, 15, 1), (1, 16, True)])
def test_stacks_out_of_range(stack):
    with pytest.raises(ConfigError):
        Stack(*stack)


def edited(network, **changes):
    """The description of `tiny` with other fields of a network; None takes a field away."""
    fields = tiny.to_dict()[network] | changes
    return tiny.to_dict() | {network: {name: value for name, value in fields.items() if value is not None}}


@pytest.mark.parametrize(
    "data",
    [
        {},
        ["name"],
        {"name": "tiny"},
        tiny.to_dict() | {"name": 3},
        tiny.to_dict() | {"intra": 3},
        tiny.to_dict() | {"third": {}},
        tiny.to_dict() | {"first": "third"},
        tiny.to_dict() | {"rest": ["inter"]},
        edited("intra", later=1),
        edited("intra", width=None),
        edited("inter", recon_blocks=None),
        edited("inter", width=1 << 14),
        edited("inter", width={"blocks": 1, "width": 16}),
        edited("inter", recon=4),
        edited("inter", recon={"blocks": 1}),
        edited("inter", recon={"blocks": 1, "width": 16, "depth": 2}),
        edited("inter", type="unheard of"),
        edited("inter", type=["inter"]),
        edited("inter", motion="yes"),
        edited("inter", motion=1),
        edited("inter", motion=True, type="motion_inter"),
        edited("intra", motion=True),
    ],
    ids=lambda data: ",".join(data)[-40:],
)
def test_other_descriptions_are_refused(data):
    with pytest.raises(ConfigError):
        CodecConfig.from_dict(data)


def test_the_names_of_architectures_are_kept():
    """They stand in the descriptions of models."""
    named = {"intra": IntraConfig, "inter": InterConfig, "motion_inter": MotionInterConfig, "pair": PairConfig}
    assert NETWORK_TYPES == named | {"unified": UnifiedConfig}
    assert dcvc_rt.to_dict()["intra"].keys().isdisjoint({"type", "first", "rest"})


def test_all_networks_of_a_codec_have_fine_pictures_or_none():
    moving = tiny.replace("inter", MotionInterConfig(**vars(tiny["inter"])))
    fine = tuple((name, dataclasses.replace(network, fine_pictures=True)) for name, network in moving.networks)
    changed = dataclasses.replace(moving, networks=fine)
    before, after = moving.to_dict(), changed.to_dict()
    assert after == before | {name: before[name] | {"fine_pictures": True} for name in ("intra", "inter")}
    assert there_and_back(changed) == changed
    for name, network in fine:
        with pytest.raises(ConfigError, match="all have fine_pictures, or none"):
            moving.replace(name, network)
        with pytest.raises(ConfigError, match="fine_pictures needs widths other than 192"):
            dataclasses.replace(network, width=192)
    with pytest.raises(ConfigError, match="fine_pictures needs widths other than 192"):
        dataclasses.replace(changed["intra"], decoder=Stack(1, 192))


def test_deblocking_is_written_only_where_it_is():
    moving = tiny.replace("inter", MotionInterConfig(**vars(tiny["inter"])))
    filtered = moving.with_deblocking(38)
    before, after = moving.to_dict(), filtered.to_dict()
    assert after == before | {name: before[name] | {"deblocking": 38} for name in ("intra", "inter")}
    assert there_and_back(filtered) == filtered
    assert filtered.with_deblocking(0) == moving
    assert tiny.with_deblocking(0) == tiny
    with pytest.raises(ConfigError, match="network inter of tiny has no deblocking"):
        tiny.with_deblocking(38)
    for strength in (-1, 513, 1.5):
        with pytest.raises(ConfigError, match="must be an integer of 0 to 512"):
            moving.with_deblocking(strength)
