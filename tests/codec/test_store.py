"""Model directories: what is saved comes back, and damage is told."""

import dataclasses
import json
import shutil

import jax
import ml_dtypes
import numpy as np
import pytest
import synthetic

from nvc_jax.codec import descriptions
from nvc_jax.codec.compact import compacted, expanded
from nvc_jax.codec.descriptions import trained_identity
from nvc_jax.codec.integers import integerise
from nvc_jax.codec.model import Codec
from nvc_jax.codec.schedule import QpOffsets
from nvc_jax.codec.store import load_model, make_model, save_description, save_model
from nvc_jax.errors import ModelError
from nvc_jax.models.codecs import dcvc_rt, tiny
from nvc_jax.models.params import flatten, unflatten
from nvc_jax.training.rounding import rounded


@pytest.fixture(scope="module")
def model():
    return synthetic.tiny_model()


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_model(folder, model)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(saved, tmp_path / "model")


def test_a_saved_model_comes_back(model, folder):
    loaded = load_model(folder)
    assert (loaded.config, loaded.identity, loaded.source) == (model.config, model.identity, model.source)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, dict(model.params))
    for key, table in model.tables.items():
        np.testing.assert_array_equal(loaded.tables[key].cdf, table.cdf)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "params", "tables.npz"]
    assert Codec.load(folder, "float32").stored.identity == model.identity


def size(folder):
    return sum(path.stat().st_size for path in (folder / "params").rglob("*"))


@pytest.mark.parametrize("short", [ml_dtypes.bfloat16, np.float16])
def test_parameters_that_fit_into_two_bytes_take_two(model, folder, tmp_path, short):
    params = jax.tree.map(lambda leaf: leaf.astype(short).astype(np.float32), dict(model.params))
    save_model(tmp_path / "short", make_model(tiny, params, "", model.tables))
    assert size(tmp_path / "short") < 0.7 * size(folder)
    jax.tree.map(np.testing.assert_array_equal, load_model(tmp_path / "short").params, params)


def test_kernels_of_int8_take_a_byte(model, folder, tmp_path):
    params = rounded(dict(model.params), 8, int8_kernels=True)
    save_model(tmp_path / "short", make_model(tiny, params, "", model.tables))
    assert size(tmp_path / "short") < 0.5 * size(folder)
    loaded = load_model(tmp_path / "short").params
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_array_equal(ours.view(np.int32), theirs.view(np.int32)), loaded, params
    )
    kernel = params["inter"]["recon_out"]["kernel"]
    for odd in (-0.0 * kernel, np.full_like(kernel, np.nan), 3e38 * np.sign(kernel)):
        (kept,) = flatten(expanded(compacted({"kernel": odd}))).values()
        np.testing.assert_array_equal(kept.view(np.int32), odd.view(np.int32))


def test_a_codec_is_that_of_nvc_files_unless_told_otherwise(folder):
    assert [Codec.load(folder).precision, Codec.load(folder, None).precision] == ["int16", "float32"]


def test_identity_follows_everything_but_names(model):
    renamed = make_model(dataclasses.replace(tiny, name="other"), model.params, "elsewhere")
    assert renamed.identity == model.identity
    inter = dict(model.params["inter"])
    inter["recon_out"] = {name: leaf + np.float32(1e-6) for name, leaf in inter["recon_out"].items()}
    assert make_model(tiny, {**model.params, "inter": inter}, "").identity != model.identity
    table = model.tables["intra"]
    cdf = table.cdf.copy()
    cdf[0, 1] += 1
    tables = {**model.tables, "intra": dataclasses.replace(table, cdf=cdf)}
    assert make_model(tiny, model.params, "", tables).identity != model.identity


def test_a_saved_model_is_replaced(model, folder):
    save_model(folder, dataclasses.replace(model, source="second"))
    assert load_model(folder).source == "second"


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_damage(folder, tmp_path):
    with pytest.raises(ModelError, match=r"nowhere: not a model; give a model directory"):
        load_model(tmp_path / "nowhere")
    intact = (folder / "config.json").read_text()
    for change, message in (
        ({"format": 2}, "format 2, this version reads 1"),
        ({"identity": "0" * 64}, "do not belong together"),
        ({"config": dcvc_rt.to_dict()}, "do not belong together"),
        ({"config": {"name": "x"}}, "not a codec configuration"),
    ):
        edit(folder, **change)
        with pytest.raises(ModelError, match=message):
            load_model(folder)
        (folder / "config.json").write_text(intact)
    (folder / "config.json").write_text(intact[:-20])
    with pytest.raises(ModelError, match=r"config\.json is damaged"):
        load_model(folder)
    (folder / "config.json").write_text(intact)

    for path in (folder / "tables.npz", max((folder / "params").rglob("*"), key=lambda p: p.stat().st_size)):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(ModelError, match="model"):
            load_model(folder)
        path.write_bytes(data)
    load_model(folder)


def test_qp_offsets_belong_to_a_model_but_not_to_its_identity(tmp_path):
    """They are kept, also by its int16 model, and damaged ones are refused."""
    model = synthetic.tiny_model()
    flat = dataclasses.replace(model, offsets=QpOffsets((0,) * 8, 6))
    save_model(tmp_path / "flat", flat)
    loaded = load_model(tmp_path / "flat")
    for found in (loaded, integerise(loaded)):
        assert found.offsets == flat.offsets
    assert loaded.identity == model.identity
    description = tmp_path / "flat" / "config.json"
    for damaged in ([0, 1], [0, 0, 0, 0, 0, 0, 0, 9], 3):
        description.write_text(json.dumps(json.loads(description.read_text()) | {"qp_offsets": damaged}))
        with pytest.raises(ModelError, match="its qp offsets are"):
            load_model(tmp_path / "flat")


def test_the_forms_of_a_model_share_its_identity(model, folder, tmp_path):
    """An int16 model made before they did keeps the hash of its integers, by which old streams go."""
    integers = integerise(load_model(folder))
    assert (integers.identity, integers.stream_identity) == (model.identity, model.identity)
    assert integers.made(model.identity)
    assert integers.made(integers.contents)
    assert not model.made(integers.contents)
    save_model(tmp_path / "int16", integers)
    edit(tmp_path / "int16", contents="0" * 64)
    with pytest.raises(ModelError, match="do not belong together"):
        load_model(tmp_path / "int16")
    description = json.loads((tmp_path / "int16" / "config.json").read_text())
    del description["contents"]
    (tmp_path / "int16" / "config.json").write_text(json.dumps(description | {"identity": integers.contents}))
    before = load_model(tmp_path / "int16")
    assert before.identity == before.contents == before.stream_identity == integers.contents


FIRST = "217e25c58ba9840e847a62687e6ac9eba9630ca1f8a4334ec3ba187e59abe14f"  # embedded_v1 before deblocking


def test_a_model_keeps_its_name_in_int16_streams(tmp_path):
    stored = load_model("embedded_v1").for_stream(FIRST)
    assert stored.identity == FIRST
    integers = integerise(stored)
    assert integers.stream_identity == integers.contents == stored.int16_identity != stored.identity
    assert trained_identity(integers.stream_identity) == trained_identity(stored.identity) == stored.identity
    assert trained_identity("0" * 64) == "0" * 64
    save_model(tmp_path / "int16", integers)
    assert load_model(tmp_path / "int16").stream_identity == integers.contents


@pytest.mark.parametrize("damaged", ["{", '{"format": 1, "identity": "a", "source": "b", "unfiltered": []}'])
def test_packaged_models_are_found_by_identity(damaged, tmp_path, monkeypatch):
    """Also one that a newer model has taken the name of, and beside one with a damaged description."""
    (tmp_path / "config.json").write_text(damaged)
    packaged = {"a_damaged_one": tmp_path} | descriptions.packaged_models()
    monkeypatch.setattr(descriptions, "packaged_models", lambda: packaged)
    newest = descriptions.read_description(packaged["embedded"])["identity"]
    assert [descriptions.packaged_with(made) for made in (newest, FIRST)] == ["embedded", "embedded_v1"]
    assert descriptions.packaged_with("0" * 64) is None


def test_a_model_with_deblocking_is_what_it_was_for_its_streams(model, tmp_path):
    """Also from disk, in its int16 form, and with another strength; other streams get the model as it is."""
    before = synthetic.tiny_model(motion=True)
    save_model(tmp_path / "model", before)
    after = before.with_deblocking(38)
    assert after.identity != before.identity
    save_description(tmp_path / "model", after)
    after = load_model(tmp_path / "model")
    assert after.config == before.config.with_deblocking(38)
    again = after.with_deblocking(20)
    assert again.identity not in (before.identity, after.identity)
    for stored in (after, again, integerise(after)):
        plain = stored.for_stream(before.identity)
        assert (plain.identity, plain.config) == (before.identity, before.config)
        assert plain.made(before.identity)
        assert stored.for_stream(stored.identity) is stored.for_stream("0" * 64) is stored
    assert again.with_deblocking(0).identity == before.identity
    assert after.with_deblocking(38) is after
    known = dataclasses.replace(before, int16_identity="1" * 64).with_deblocking(38)
    assert integerise(known.with_deblocking(0)).stream_identity == "1" * 64
    assert integerise(known.for_stream("1" * 64)).stream_identity == "1" * 64
    with pytest.raises(ModelError, match="holds other parameters or tables"):
        save_description(tmp_path / "model", model)
    moved = dataclasses.replace(after.tables["inter"], offset=after.tables["inter"].offset - 1)
    tables = after.tables | {"inter": moved}
    with pytest.raises(ModelError, match="holds other parameters or tables"):
        save_description(tmp_path / "model", make_model(after.config, after.params, "other tables", tables))
    with pytest.raises(ModelError, match="before its int16 form"):
        integerise(after).with_deblocking(20)
    edit(tmp_path / "model", unfiltered=["?"])
    with pytest.raises(ModelError, match=r"config\.json is damaged"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_parameters_that_are_no_numbers_are_refused(model, tmp_path, value):
    parameters = flatten(model.params)
    parameters["inter/recon_out/bias"] = np.full_like(parameters["inter/recon_out/bias"], value)
    save_model(tmp_path / "model", make_model(tiny, unflatten(parameters), "diverged"))
    message = r"1 of \d+ parameters have NaN or infinity in them, e\.g\. inter/recon_out/bias; the training that wrote"
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / "model")
