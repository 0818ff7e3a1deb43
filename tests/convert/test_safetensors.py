"""`.safetensors` as another form of official checkpoints: values, round trips, damage."""

import json
import struct
import sys

import numpy as np
import pytest
import synthetic
from safetensors.numpy import save_file

from nvc_jax.codec.store import load_model, save_model
from nvc_jax.convert.command import export_checkpoints, import_checkpoints
from nvc_jax.convert.safetensors import is_safetensors, read_safetensors
from nvc_jax.errors import CheckpointError


def written(path, header, data=b""):
    """A file with a header of one's own."""
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path / "model", synthetic.tiny_model())
    return tmp_path / "model"


@pytest.mark.parametrize("names", [("i.safetensors", "v.safetensors"), ("i.safetensors", "v.pth")])
def test_a_model_goes_out_and_comes_back(folder, tmp_path, names):
    image, video = (tmp_path / name for name in names)
    made = export_checkpoints(folder, image, video)
    assert [is_safetensors(path) for path in (image, video)] == [name.endswith("safetensors") for name in names]
    back = import_checkpoints(image, video, tmp_path / "back", "tiny")
    assert back.identity == made.identity == load_model(tmp_path / "back").identity
    first = image.read_bytes()
    export_checkpoints(folder, image, video)
    assert image.read_bytes() == first


def test_values_of_every_dtype(tmp_path):
    dtypes = "f8 f4 f2 i8 i4 i2 i1 u1 ?".split()
    arrays = {dtype: np.arange(6).reshape(2, 3).astype(dtype) for dtype in dtypes}
    arrays |= {"scalar": np.array(5, np.int64), "empty": np.zeros((0, 3), np.float32)}
    save_file({f"module.{name}": array for name, array in arrays.items()}, tmp_path / "x.safetensors")
    found = read_safetensors(tmp_path / "x.safetensors")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


def test_bfloat16_becomes_float32(tmp_path):
    header = {"w": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}
    path = written(tmp_path / "x", header, np.array([0x3F80, 0xC049, 0x7F80], "<u2").tobytes())
    values = read_safetensors(path)["w"]
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, [1.0, -3.140625, np.inf])


def entry(dtype, shape, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}


@pytest.mark.parametrize(
    ("header", "size", "message"),
    [
        ({"w": entry("F32", [3], 12)}, 8, "is truncated or damaged"),
        ({"w": entry("F32", [2**40], 2**42)}, 8, "is truncated or damaged"),
        ({"w": entry("F32", [4], 12)}, 12, "is truncated or damaged"),
        ({"w": entry("X9", [4], 4)}, 4, "is truncated or damaged"),
        ({"w": entry("F8_E4M3", [4], 4)}, 4, "of dtype F8_E4M3; F64, F32"),
        ([], 0, "is truncated or damaged"),
        ({"a.b": entry("U8", [0], 0), "a._orig_mod.b": entry("U8", [0], 0)}, 0, "names differ by `_orig_mod.` only"),
    ],
)
def test_damage(tmp_path, header, size, message):
    path = written(tmp_path / "x.safetensors", header, bytes(size))
    with pytest.raises(CheckpointError, match=message) as caught:
        read_safetensors(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_another_file_of_that_name(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(CheckpointError, match="Git LFS pointer"):
        import_checkpoints(tmp_path / "x.safetensors", tmp_path / "x.safetensors", tmp_path / "out", "tiny")


def test_without_the_package(folder, tmp_path, monkeypatch):
    export_checkpoints(folder, tmp_path / "i.safetensors", tmp_path / "v.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    message = r"needs the package safetensors: pip install 'nvc-jax\[safetensors\]'"
    with pytest.raises(CheckpointError, match=message):
        import_checkpoints(tmp_path / "i.safetensors", tmp_path / "v.safetensors", tmp_path / "out", "tiny")
    with pytest.raises(CheckpointError, match=message):
        export_checkpoints(folder, tmp_path / "new.safetensors", tmp_path / "new.pth")
    assert not list(tmp_path.glob("new*"))
