"""Probability tables: equal to the official ones, and checked wherever they come from."""

import io

import numpy as np
import pytest

from nvc_jax.entropy.tables import (
    FACTORISED_PARAMS,
    CdfArrays,
    factorised_tables,
    gaussian_tables,
    load_tables,
    save_tables,
)
from nvc_jax.errors import ModelError
from nvc_jax.spec import LOG_SCALE_MIN, LOG_SCALE_STEP_RECIPROCAL, SCALE_LEVELS, SCALE_MAX, SCALE_MIN


def random_params(seed, spread, qps=4, channels=3):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, spread, (qps, channels)) for name in FACTORISED_PARAMS}


def test_gaussian_tables_are_the_official_ones(golden):
    tables = gaussian_tables()
    assert tables.rows == SCALE_LEVELS
    with np.load(golden / "entropy.npz") as arrays:
        np.testing.assert_array_equal(tables.cdf, arrays["gauss_cdf"])
        np.testing.assert_array_equal(tables.length, arrays["gauss_cdf_length"])
        np.testing.assert_array_equal(tables.offset, arrays["gauss_offset"])
        assert arrays["index_consts"].tolist() == [
            SCALE_MIN,
            SCALE_MAX,
            LOG_SCALE_MIN,
            LOG_SCALE_STEP_RECIPROCAL,
        ]


@pytest.mark.parametrize("model", ["video", "image"])
def test_factorised_tables_are_the_official_ones(golden, golden_weights, model):
    prefix = "bit_estimator_z."
    params = {
        name.removeprefix(prefix): values[:, :, 0, 0]
        for name, values in golden_weights.make_state_dict(model).items()
        if name.startswith(prefix)
    }
    tables = factorised_tables(params)
    with np.load(golden / "entropy.npz") as arrays:
        np.testing.assert_array_equal(tables.cdf, arrays[f"z_{model}_cdf"])
        np.testing.assert_array_equal(tables.length, arrays[f"z_{model}_cdf_length"])
        np.testing.assert_array_equal(tables.offset, arrays[f"z_{model}_offset"])


@pytest.mark.parametrize("spread", [0.01, 0.5, 3.0, 30.0])
def test_factorised_tables_are_valid_for_any_weights(spread):
    tables = factorised_tables(random_params(0, spread))  # the check is in CdfArrays
    assert tables.rows == 12


def test_rows_are_ordered_by_qp_then_channel():
    params = random_params(1, 0.3)
    tables = factorised_tables(params)
    alone = factorised_tables({name: values[2:3, 1:2] for name, values in params.items()})
    np.testing.assert_array_equal(tables.cdf[2 * 3 + 1], alone.cdf[0])


def test_bad_parameters_are_named():
    params = random_params(2, 0.1)
    with pytest.raises(ModelError, match=r"lack f3\.a"):
        factorised_tables({name: values for name, values in params.items() if name != "f3.a"})
    with pytest.raises(ModelError, match=r"f2\.b .* finite"):
        factorised_tables(params | {"f2.b": np.full((4, 3), np.nan)})
    with pytest.raises(ModelError, match=r"f4\.h .*\(4, 3\); its shape is \(4, 2\)"):
        factorised_tables(params | {"f4.h": np.zeros((4, 2))})
    huge = np.full((4, 3), 1e308)
    with pytest.raises(ModelError, match="too large"):
        factorised_tables(params | {"f1.h": huge, "f2.h": huge, "f3.h": -huge})


def table(cdf=((0, 5, 65536),), length=(3,), offset=(0,), dtype=np.int32):
    return CdfArrays(np.array(cdf, dtype), np.array(length, dtype), np.array(offset, dtype))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": np.int64}, "cdf of a probability table is int64"),
        ({"cdf": (0, 5, 65536)}, "2 dimensions"),
        ({"length": (3, 3)}, "1 rows of 3 values, 2 lengths"),
        ({"cdf": np.zeros((0, 3))}, "0 rows"),
        ({"cdf": np.zeros((1, 2))}, "2 values"),
        ({"cdf": ((0, 5, 65536), (0, 0, 65536)), "length": (3, 3), "offset": (0, 0)}, "row 1"),
        ({"cdf": ((1, 5, 65536),)}, "row 0"),
        ({"cdf": ((0, 5, 65535),)}, "row 0"),
        ({"cdf": ((0, 2**31 - 1, 65536),)}, "row 0"),
        ({"length": (4,)}, "row 0"),
        ({"length": (-(2**31),)}, "row 0"),
        ({"offset": (128,)}, "row 0"),
        ({"offset": (-129,)}, "row 0"),
    ],
)
def test_arrays_that_are_no_tables_are_refused(arguments, message):
    with pytest.raises(ModelError, match=message):
        table(**arguments)


def test_saved_tables_come_back(tmp_path):
    tables = {"image": gaussian_tables(), "video": table()}
    with open(tmp_path / "tables.npz", "wb") as file:
        save_tables(file, tables)
    loaded = load_tables(tmp_path / "tables.npz", ("image", "video"))
    for name, expected in tables.items():
        np.testing.assert_array_equal(loaded[name].cdf, expected.cdf)
        np.testing.assert_array_equal(loaded[name].length, expected.length)
        np.testing.assert_array_equal(loaded[name].offset, expected.offset)


def test_unreadable_table_files_are_named(tmp_path):
    path = tmp_path / "tables.npz"
    with pytest.raises(ModelError, match=r"tables\.npz: cannot read the probability tables"):
        load_tables(path, ("image",))
    buffer = io.BytesIO()
    save_tables(buffer, {"image": gaussian_tables()})
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ModelError, match=r"tables\.npz: lacks the probability table"):
        load_tables(path, ("video",))
    for size in range(0, len(buffer.getvalue()), 97):
        path.write_bytes(buffer.getvalue()[:size])
        with pytest.raises(ModelError, match=r"tables\.npz: is no file of probability tables"):
            load_tables(path, ("image",))
    for at in range(0, len(buffer.getvalue()), 31):
        damaged = bytearray(buffer.getvalue())
        damaged[at] ^= 0x55
        path.write_bytes(damaged)
        try:
            load_tables(path, ("image",))
        except ModelError as error:
            assert str(path) in str(error)  # noqa: PT017
