"""PyTorch checkpoints: values, round trips, damage and hostility.

tests/data/torch_types.pth was made by PyTorch 2.13 with:

    base, small = torch.arange(24.0).reshape(4, 6), torch.arange(6)
    sd = collections.OrderedDict()
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
                  torch.int16, torch.int8, torch.uint8, torch.bool):
        unsigned = dtype in (torch.uint8, torch.bool)
        sd[f"module.{str(dtype)[6:]}"] = (small - (0 if unsigned else 2)).reshape(2, 3).to(dtype)
    sd |= {"module.parameter": torch.nn.Parameter(torch.tensor([0.1, -0.0, float("inf")])),
           "module.transposed": base.t(), "module.sliced": base[1::2, 4:],  # of one storage
           "module.expanded": torch.tensor([7.0]).expand(2, 3),
           "module.scalar": torch.tensor(5), "module.empty": torch.zeros(0, 3)}
    sd._metadata = {"": {"version": 1}}
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()
    optimizer.step()
    torch.save({"epoch": 3, "device": torch.device("cuda", 0), "size": torch.Size([1, 2]), "none": None,
                "dtype": torch.float32, "raw": bytes([0, 255]), "optimizer": optimizer.state_dict(),
                "state_dict": sd}, path)
"""

import argparse
import builtins
import collections
import copyreg
import datetime
import fractions
import os
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nvc_jax.convert import pth_pickle
from nvc_jax.convert.pth import read_pth, write_pth
from nvc_jax.errors import CheckpointError, OutputError

TORCH_FILE = Path(__file__).parents[1] / "data" / "torch_types.pth"
DTYPES = ["<f4", ">f4", "f8", "f2", "i8", "i4", "i2", "i1", "u1", "?"]
anywhere = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def expected_arrays():
    small = np.arange(6).reshape(2, 3)
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    signed = ("float32", "float64", "float16", "int64", "int32", "int16", "int8")
    return {
        **{name: (small - 2).astype(name) for name in signed},
        "bfloat16": (small - 2).astype(np.float32),
        "uint8": small.astype(np.uint8),
        "bool": small != 0,
        "parameter": np.array([0.1, -0.0, np.inf], np.float32),
        "transposed": base.T,
        "sliced": base[1::2, 4:],
        "expanded": np.full((2, 3), 7, np.float32),
        "scalar": np.array(5),
        "empty": np.zeros((0, 3), np.float32),
    }


def assert_same(got, want):
    assert list(got) == list(want)
    for name, array in want.items():
        assert got[name].dtype == array.dtype.newbyteorder("="), name
        assert got[name].shape == array.shape, name
        assert got[name].tobytes() == array.astype(array.dtype.newbyteorder("=")).tobytes(), name  # NaNs too


def checkpoint(path, data_pkl, records=None, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data_pkl)
        for name, data in (records or {}).items():
            archive.writestr(f"archive/{name}", data)
    return path


def one_tensor(shape=(2, 3), strides=(3, 1), offset=0, numel=6, kind="FloatStorage", wrapper=None):
    storage = pth_pickle.Storage(kind, "0", numel)
    return pth_pickle.dumps({"w": pth_pickle.Tensor(storage, offset, shape, strides)}, wrapper)


# Values


def test_torch_file_is_read_exactly():
    got = read_pth(TORCH_FILE)
    want = expected_arrays()
    assert set(got) == set(want)
    assert_same(got, {name: want[name] for name in got})
    assert list(got)[:3] == ["float32", "float64", "float16"]  # the order of the file
    assert all(array.flags.c_contiguous and array.flags.writeable for array in got.values())
    assert not np.shares_memory(got["transposed"], got["sliced"])  # though they did in the file


@pytest.mark.parametrize(("name", "dtype"), [(b"big", ">f4"), (b"little", "<f4"), (None, "<f4"), (b"", None)])
def test_byte_order(tmp_path, name, dtype):  # PyTorch before 2.1 wrote none
    want = np.arange(6, dtype=dtype).reshape(2, 3)
    records = {"data/0": want.tobytes()} | ({} if name is None else {"byteorder": name})
    path = checkpoint(tmp_path / "x.pth", one_tensor(numel=want.nbytes // 4), records)
    if dtype is None:
        with pytest.raises(CheckpointError, match="byte order"):
            read_pth(path)
    else:
        assert_same(read_pth(path), {"w": want})


def test_bfloat16_bits(tmp_path):
    data = np.array([0x3F80, 0xFF80, 0x0001, 0x8000, 0x7FC1, 0x4049], "<u2")
    path = checkpoint(tmp_path / "x.pth", one_tensor(kind="BFloat16Storage"), {"data/0": data.tobytes()})
    want = (data.astype(np.uint32) << 16).view(np.float32).reshape(2, 3)
    assert_same(read_pth(path), {"w": want})


@pytest.mark.parametrize("wrapper", [None, "state_dict", "net", "model", "something"])
def test_wrappers_and_parallel_prefix(tmp_path, wrapper):
    arrays = {"module.a": np.ones(2, np.float32), "module.module.b": np.zeros(1)}
    write_pth(tmp_path / "x.pth", arrays, wrapper)
    assert list(read_pth(tmp_path / "x.pth")) == ["a", "module.b"]
    write_pth(tmp_path / "x.pth", arrays | {"c": np.ones(1)}, wrapper)
    assert list(read_pth(tmp_path / "x.pth")) == ["module.a", "module.module.b", "c"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["_orig_mod.a", "_orig_mod.b.c"], ["a", "b.c"]),
        (["module._orig_mod.a", "module._orig_mod.b"], ["a", "b"]),
        (["_orig_mod.module.a", "_orig_mod.module.b"], ["a", "b"]),
        (["encoder._orig_mod.a", "b"], ["encoder.a", "b"]),
        (["_orig_mod.a", "b"], ["a", "b"]),
        (["module.module.a", "module.module.b"], ["module.a", "module.b"]),
        (["my_orig_mod.a", "b"], ["my_orig_mod.a", "b"]),
    ],
)
def test_wrappers_around_the_model(tmp_path, names, expected):
    write_pth(tmp_path / "x.pth", {name: np.ones(1, np.float32) for name in names})
    assert list(read_pth(tmp_path / "x.pth")) == expected


def test_names_that_fall_together(tmp_path):
    write_pth(tmp_path / "x.pth", {"a.b": np.ones(1), "a._orig_mod.b": np.ones(1)})
    with pytest.raises(CheckpointError, match=r"names differ by `_orig_mod\.` only"):
        read_pth(tmp_path / "x.pth")


@pytest.mark.parametrize("protocol", [2, 4])
def test_pickle_module_agrees(protocol):
    value = {"a": [1, -7, 300, 70_000, -(2**40), 2.5, None, True], "b": ("é" * 300, (), {}, {1: [[]]})}
    value["c"] = value["a"]
    assert pth_pickle.loads(pickle.dumps(value, protocol)) == value


@anywhere
@given(
    arrays=st.dictionaries(
        st.text(max_size=12),
        st.sampled_from(DTYPES).flatmap(
            lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
        ),
        min_size=1,
        max_size=5,
    ),
    wrapper=st.none() | st.text(max_size=8),
)
def test_round_trip(tmp_path, arrays, wrapper):
    assume(not all(name.startswith("module.") for name in arrays) and not any("_orig_mod." in name for name in arrays))
    path = tmp_path / "x.pth"
    write_pth(path, arrays, wrapper)
    assert_same(read_pth(path), arrays)


def test_written_bytes_are_stable_and_aligned(tmp_path):
    arrays = {"a": np.arange(5, dtype=np.float32), "b": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
    write_pth(tmp_path / "x.pth", arrays)
    write_pth(tmp_path / "y.pth", {name: array.copy("C") for name, array in arrays.items()})
    assert (tmp_path / "x.pth").read_bytes() == (tmp_path / "y.pth").read_bytes()
    with zipfile.ZipFile(tmp_path / "x.pth") as archive:
        assert archive.testzip() is None
        for member in archive.infolist():
            assert member.compress_type == zipfile.ZIP_STORED
            assert (member.header_offset + 30 + len(member.filename) + len(member.extra)) % 64 == 0


def test_nothing_is_left_of_a_failed_write(tmp_path):
    with pytest.raises(CheckpointError, match=r"'w' is complex64.*convert it to float32"):
        write_pth(tmp_path / "x.pth", {"w": np.zeros(2, np.complex64)})
    with pytest.raises(OutputError):
        write_pth(tmp_path / "missing" / "x.pth", {"w": np.zeros(2)})
    assert list(tmp_path.iterdir()) == []


# Files that are something else


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", r"before 1\.6.*torch\.save"),
        (tarfile.TarInfo("pickle").tobuf(), r"before 1\.6.*torch\.save"),
        (b"RIFF", "not a PyTorch checkpoint"),
        (b"PK\x03\x04 and no more", "truncated or damaged"),
    ],
)
def test_other_files(tmp_path, content, message):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_pth(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_unreadable_path(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(CheckpointError, match="cannot be read"):
            read_pth(path)


def test_other_zip_files(tmp_path):
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "")
    with pytest.raises(CheckpointError, match="zip file but not a PyTorch checkpoint"):
        read_pth(path)
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_pth(checkpoint(path, one_tensor(), {"constants.pkl": b""}, zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize("value", [{}, {"epoch": 3}, [1, 2], 7, {"state_dict": {}}, {"state_dict": {"a": 1}}])
def test_no_tensors(tmp_path, value):
    with pytest.raises(CheckpointError, match="dictionary of tensors"):
        read_pth(checkpoint(tmp_path / "x.pth", pickle.dumps(value, 2)))


# Sizes that lie


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ({"offset": 1}, "reaches element 6"),
        ({"strides": (4, 1)}, "reaches element 6"),
        ({"shape": (2, 2**61)}, "reaches element"),
        ({"numel": 7}, "should have 28 bytes, its record has 24"),
        ({"kind": "DoubleStorage"}, "should have 48 bytes, its record has 24"),
        ({"shape": (2**40,), "strides": (0,)}, "would expand"),
        ({"shape": (0, 2**40)}, "would expand"),
        ({"shape": (1,) * 33, "strides": (1,) * 33}, "arguments that do not fit"),
        ({"shape": (2, -3)}, "not a count"),
        ({"offset": -1}, "not a count"),
        ({"shape": (2, 2**62)}, "not a count"),
    ],
)
def test_tensor_outside_its_storage(tmp_path, tensor, message):
    path = checkpoint(tmp_path / "x.pth", one_tensor(**tensor), {"data/0": bytes(24)})
    with pytest.raises(CheckpointError, match=message):
        read_pth(path)


def test_unused_stride_may_be_anything(tmp_path):
    path = checkpoint(tmp_path / "x.pth", one_tensor((1, 6), (2**61, 1)), {"data/0": bytes(24)})
    assert_same(read_pth(path), {"w": np.zeros((1, 6), np.float32)})


def test_missing_record(tmp_path):
    with pytest.raises(CheckpointError, match="'data/0' is missing"):
        read_pth(checkpoint(tmp_path / "x.pth", one_tensor()))


def test_zip_bomb(tmp_path):
    bomb = one_tensor((1 << 24,), (1,), numel=1 << 24)
    path = checkpoint(tmp_path / "x.pth", bomb, {"data/0": bytes(1 << 26)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(CheckpointError, match="compressed"):
        read_pth(path)


def test_records_larger_than_the_file(tmp_path):
    path = checkpoint(tmp_path / "x.pth", one_tensor(), {"data/0": bytes(24)})
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = struct.pack("<II", 1 << 30, 1 << 30)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="more bytes than the file"):
        read_pth(path)


# Hostile pickles: nothing of what they name may run


class Call:  # pickles to a call of `function` with `arguments`
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


MARKER = "NVC_JAX_TEST_HOSTILE"


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Call(os.system, f"export {MARKER}=1"), r"(posix|nt)\.system"),
        (Call(builtins.eval, f"__import__('os').environ.setdefault('{MARKER}', '1')"), r"\.eval"),
        (Call(builtins.getattr, "", "format"), r"\.getattr"),
        (Call(copyreg._reconstructor, object, object, None), r"copy_?reg\._reconstructor"),
        (Call(map, Call(builtins.getattr, "", "format"), "ab"), r"\.i?map"),
        (Call(os.putenv, Call(os.getenv, "HOME"), "1"), r"putenv"),
        (fractions.Fraction(1), r"fractions\.Fraction"),
        (Call(collections.namedtuple, "a", "b"), r"collections\.namedtuple"),
        (Call(np.load, "x"), r"numpy\..*load"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_hostile_globals(tmp_path, value, named, protocol):
    data = pickle.dumps({"state_dict": {"w": value}}, protocol)
    with pytest.raises(CheckpointError, match=f"refused: the file asks for '.*{named}'"):
        read_pth(checkpoint(tmp_path / "x.pth", data))
    assert MARKER not in os.environ


@pytest.mark.parametrize(
    "value",
    [
        argparse.Namespace(lr=0.1, nested=argparse.Namespace(a=[1])),
        collections.Counter(a=1),
        collections.defaultdict(list, {("a", 1): [2]}),
        np.float32(1),
        np.arange(3.0),
        {"state": [{1, 2}, frozenset("a"), Path("x"), datetime.datetime(2020, 1, 1), range(3), 1j]},
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_lies_beside_the_weights_is_ignored(tmp_path, value, protocol):
    weights = pth_pickle.dumps(
        {"w": pth_pickle.Tensor(pth_pickle.Storage("FloatStorage", "0", 6), 0, (6,), (1,))}, None
    )
    beside = pickle.dumps(value, protocol)
    head = pickle.PROTO + bytes([protocol]) + b"}("
    body = weights[2:-1].replace(b"\x80\x02", b"")
    inner = beside[beside.index(pickle.FRAME) + 9 if protocol == 4 and pickle.FRAME in beside[:4] else 2 : -1]
    data = head + b"X\x04\0\0\0args" + inner + b"X\x05\0\0\0model" + body + b"u."
    path = checkpoint(tmp_path / "x.pth", data, {"data/0": np.arange(6, dtype="<f4").tobytes()})
    assert_same(read_pth(path), {"w": np.arange(6, dtype=np.float32)})
    inside = checkpoint(tmp_path / "y.pth", pickle.dumps({"state_dict": {"w": value}}, protocol))
    with pytest.raises(CheckpointError, match="does not hold one dictionary of tensors"):
        read_pth(inside)


REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"cos\nsystem\nU\x04trueR.", "asks for 'os.system'"),
        (b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.", "asks for"),
        (b"cnvc_jax.convert.pth_pickle\nloads\n.", "asks for"),
        (REBUILD + b"}b.", "sets the state"),  # BUILD on a function
        (b"]}b.", "sets the state"),
        (REBUILD + b")R.", "arguments that do not fit"),
        (b"}Q.", "persistent id"),
        (b"X\x01\x00\x00\x00a)R.", "not a function"),
        (b"ctorch\nFloatStorage\n)R.", "arguments that do not fit"),
        (b"}}K\x01s.", "dictionary key is of type dict"),
        (b"})K\x01s.", "dictionary key is of type tuple"),
        (b"}K\x01a.", "not a list"),
        (b"}})\x81.", "makes an object of something that is not a plain container"),  # NEWOBJ
        (REBUILD + b")\x81.", "makes an object"),
        (b"\x82\x01.", "opcode"),  # EXT1
        (b"cargparse\nNamespace\n}b.", "sets the state"),  # of the class itself
        (b".", "damaged near byte 3"),
        (b"X\xff\xff\xff\x7fa.", "needs 2147483647 bytes"),
        (b"X\x01\x00\x00\x00\xff.", "damaged near"),
        (b"}(K\x01u.", "damaged near"),
        (b"N" * (pth_pickle.MAX_PICKLE_BYTES + 1), "limit"),
    ],
)
def test_hostile_instructions(body, message):
    with pytest.raises(CheckpointError, match=message):
        pth_pickle.loads(b"\x80\x02" + body)


def test_too_many_instructions(monkeypatch):
    monkeypatch.setattr(pth_pickle, "MAX_OPCODES", 1000)
    with pytest.raises(CheckpointError, match="more than 1000 opcodes"):
        pth_pickle.loads(b"(" * 1001)


def test_abuse_of_memo_depth_and_sharing(tmp_path):
    far_memo = b"\x80\x02Nr\xff\xff\xff\xffj\xff\xff\xff\xff."  # a table indexed by this would take 32 GiB
    deep = b"\x80\x02)" + b"\x85" * 300_000 + b"."
    laughs = b"\x80\x02]" + b"q\x00(h\x00h\x00t" * 1000 + b"."
    itself = b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s."
    for data in (far_memo, deep, laughs, itself):
        with pytest.raises(CheckpointError, match="dictionary of tensors"):
            read_pth(checkpoint(tmp_path / "x.pth", data))


# Damage


def test_cut_files(tmp_path):
    content = TORCH_FILE.read_bytes()
    path = tmp_path / "x.pth"
    for cut in {*range(0, len(content), 37), *range(64), *range(len(content) - 64, len(content))}:
        path.write_bytes(content[:cut])
        with pytest.raises(CheckpointError):
            read_pth(path)


@settings(anywhere, max_examples=200)
@given(flips=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bytes(tmp_path, flips):
    content = bytearray(TORCH_FILE.read_bytes())
    for position, mask in flips:
        content[position % len(content)] ^= mask
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    try:
        got = read_pth(path)
    except CheckpointError:
        return
    assert_same(got, read_pth(TORCH_FILE))


@settings(anywhere, max_examples=200)
@given(
    flips=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 1 << 20),
)
def test_damaged_pickle_behind_a_good_checksum(tmp_path, flips, cut):
    with zipfile.ZipFile(TORCH_FILE) as archive:
        records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    data = bytearray(records.pop("data.pkl"))
    for position, byte in flips:
        data[position % len(data)] = byte
    try:
        read_pth(checkpoint(tmp_path / "x.pth", data[: cut % len(data)] if cut % 2 else data, records))
    except CheckpointError:
        pass
