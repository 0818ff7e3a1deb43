"""info, models, convert, demo."""

import functools
import pickle
import shutil
import sys
import traceback
import zipfile

import av
import numpy as np
import pytest
from command_line import FRAMES, HEIGHT, WIDTH, unchanged

from nvc_jax.codec.store import load_model
from nvc_jax.convert import int16, names
from nvc_jax.convert.checkpoint import params_to_official
from nvc_jax.convert.pth import read_pth, write_pth
from nvc_jax.errors import CheckpointError
from nvc_jax.models.codecs import CONFIGS, tiny
from nvc_jax.video import open_video, read_png


def test_info(nvc, stream, coded):
    found = nvc("info", stream, "--json").json()
    assert found == {
        "container": "dcvc",
        "width": WIDTH,
        "height": HEIGHT,
        "frames": FRAMES,
        "lost": 0,
        "damage": None,
        "intra_frames": 1,
        "refreshes": 2,
        "dialect": "one_stream",
        "frame_qp_range": [32, 40],
        "bytes": stream.stat().st_size,
        "bpp": pytest.approx(coded[1]["bpp"]),
    }
    lines = dict(line.strip().split("  ", 1) for line in nvc("info", stream).out.splitlines())
    assert lines["frames"] == str(FRAMES)
    assert lines["frame qp range"] == "32 40"
    assert lines.keys() == {name.replace("_", " ") for name in found}


def test_models(nvc):
    assert nvc("models", "--json").json()["architectures"] == list(CONFIGS)
    assert "dcvc_rt" in nvc("models").out


# convert


@pytest.fixture(autouse=True, scope="module")
def shapes_once():
    """Tracing the networks for their shapes takes most of the time of a small conversion."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "parameter_shapes", functools.cache(names.parameter_shapes))
        yield


@pytest.fixture(scope="module")
def state_dicts(tiny_model):
    """The tiny model as the official code has it."""
    return params_to_official(tiny, tiny_model.params)


@pytest.fixture
def checkpoints(work, state_dicts):
    """Official checkpoints of the tiny model."""
    files = "image.pth.tar", "video.pth.tar"
    for name, state_dict in zip(files, state_dicts, strict=True):
        write_pth(work / name, state_dict)
    return files


def test_convert_both_ways(nvc, work, tiny_model, checkpoints):
    result = nvc("convert", *checkpoints, "model", "--architecture", "tiny")
    assert result.code == 0, result.err
    ours = load_model("model")
    assert ours.identity == tiny_model.identity
    assert result.out == f"tiny  identity {ours.identity[:12]}  image.pth.tar, video.pth.tar\n"
    assert nvc("convert", "model", "i.pth", "v.pth", "--json").json()["identity"] == ours.identity
    for before, after in zip(checkpoints, ("i.pth", "v.pth"), strict=True):
        assert (work / before).read_bytes() == (work / after).read_bytes()
    assert nvc("convert", *checkpoints, "model", "--architecture", "tiny").code == 0  # replaced


def test_converted_model_decodes(nvc, stream, checkpoints):
    assert nvc("convert", *checkpoints, "model", "--architecture", "tiny").code == 0
    assert nvc("decode", stream, "d.y4m", "--model", "model").code == 0


def test_official_tables(nvc, work, tiny_model, checkpoints):
    arrays = {
        f"{name}_{part}": getattr(tiny_model.tables[key], part)
        for name, key in (("image", "intra"), ("video", "inter"))
        for part in ("cdf", "length", "offset")
    }
    np.savez(work / "tables.npz", **arrays)
    options = "--architecture", "tiny", "--tables", "tables.npz"
    assert nvc("convert", *checkpoints, "model", *options).code == 0
    assert load_model("model").identity == tiny_model.identity
    arrays |= {name: array[:-8] for name, array in arrays.items() if name.startswith("video")}
    np.savez(work / "tables.npz", **arrays)
    with unchanged(work):
        sentence = nvc("convert", *checkpoints, "other", *options).refusal()
    assert "the inter tables of z have 568 rows, the model tiny needs 576" in sentence


def test_convert_refusals(nvc, work, checkpoints, model, stream):
    image, video = checkpoints
    (work / "text").write_text("This is not a checkpoint.\n")
    (work / "empty").touch()
    (work / "cut").write_bytes((work / image).read_bytes()[:-100])
    (work / "folder").mkdir()
    (work / "folder" / "notes.txt").write_text("mine")
    is_tiny = "--architecture", "tiny"
    for arguments, words in (
        (("missing", video, "new", *is_tiny), "missing: cannot be read"),
        ((image, "text", "new", *is_tiny), "text: is not a PyTorch checkpoint"),
        ((image, "empty", "new", *is_tiny), "empty: is empty"),
        (("cut", video, "new", *is_tiny), "cut: is truncated or damaged"),
        ((stream, video, "new", *is_tiny), "is not a PyTorch checkpoint"),
        ((video, image, "new", *is_tiny), "the two checkpoints are swapped; give that of the image model first"),
        ((image, video, "new"), "the checkpoints are of the architecture tiny, not dcvc_rt"),
        ((image, video, "new", "--architecture", "vgg"), "unknown architecture 'vgg'; available: dcvc_rt"),
        ((image, video, "new", *is_tiny, "--tables", "text"), "text: is no file of probability tables"),
        ((image, video, "nowhere/new", *is_tiny), "nowhere does not exist; make it first"),
        ((image, video, "folder", *is_tiny), "holds other files (notes.txt)"),
        ((image, video, "text", *is_tiny), "is a file, not a folder"),
        (("folder", "i.pth", "v.pth"), "folder: not a model"),
        ((model, "i.pth", "nowhere/v.pth"), "the folder nowhere does not exist"),
        ((model, "i.pth", "/dev/full"), "No space left on device"),
        ((model, "i.pth", "./i.pth"), "name two files"),
    ):
        with unchanged(work):
            assert words in nvc("convert", *arguments).refusal(), words


def test_tensors_are_named(nvc, work, checkpoints):
    tensors = {tensor.name for tensor in names.official_tensors(tiny).values() if tensor.model == "inter"}
    missing, misshaped = sorted(tensors)[:2]
    video = read_pth(checkpoints[1])
    del video[missing]
    video[misshaped] = np.zeros((1, 2, 3), np.float32)
    write_pth(work / "odd.pth", video | {"extra.weight": np.zeros(1, np.float32)})
    with unchanged(work):
        arguments = "convert", checkpoints[0], "odd.pth", "new", "--architecture", "tiny"
        sentence = nvc(*arguments).refusal()
        with pytest.raises(CheckpointError) as caught:
            nvc(*arguments, "--debug")
    counts = "(tensors: 1 missing, 1 unexpected, 1 of another shape)"
    assert f"{counts}, e.g. missing in the video checkpoint: {missing}" in sentence
    for words in (missing, f"{misshaped} is [1, 2, 3]", "extra.weight"):
        assert words in "".join(traceback.format_exception(caught.value))


class Hostile:
    """Runs a command when it is unpickled without care."""

    def __reduce__(self):
        return eval, ("open('harm', 'w')",)


def test_hostile_checkpoint(nvc, work, checkpoints):
    with zipfile.ZipFile(work / "hostile.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"state_dict": Hostile()}))
    with unchanged(work):
        sentence = nvc("convert", checkpoints[0], "hostile.pth", "new", "--architecture", "tiny").refusal()
    assert sentence.startswith("hostile.pth: ")
    assert "eval" in sentence


def test_full_disk(nvc, work, checkpoints, monkeypatch):
    usage = shutil.disk_usage(work)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with unchanged(work):
        assert "new: no space for the" in nvc("convert", *checkpoints, "new", "--architecture", "tiny").refusal()


# demo


def test_demo_of_a_video(nvc, work, clip):
    result = nvc("demo", "--video", clip, "--out", "made/here")
    assert result.code == 0, result.err
    assert "made/here/side_by_side.png" in result.out
    table = [line.split() for line in result.out.splitlines()]
    assert [row[0] for row in table[1:4]] == ["10", "32", "54"]
    files = {f"qp{qp}.{kind}" for qp in (10, 32, 54) for kind in ("nvc", "mp4")}
    assert {path.name for path in (work / "made" / "here").iterdir()} == {*files, "side_by_side.png"}
    assert read_png(work / "made" / "here" / "side_by_side.png").shape == (HEIGHT, 4 * WIDTH, 3)
    with open_video(work / "made" / "here" / "qp32.mp4") as reader:
        assert len(list(reader)) == FRAMES


@pytest.mark.slow  # operation by operation
def test_convert_to_int16_with_a_clip(nvc, model, clip, monkeypatch):
    monkeypatch.setattr(int16, "CALIBRATION_PACKETS", 2)
    monkeypatch.setattr(int16, "CALIBRATION_QPS", (63,))
    made = nvc("convert", "--int16", "--calibrate", clip, model, "integers", "--json").json()
    assert made["saturated_layers"] == []
    assert made["layers"]["inter/encoder_in"]["peak"] > 0


def test_convert_to_int16(nvc, work, model, clip):
    """The model of integers codes the stream that the model it was made of codes in int16."""
    made = nvc("convert", "--int16", model, "integers", "--json").json()
    assert (made["clamped_parameters"], made["layers"]) == ({}, {})
    nvc("encode", "--precision", "int16", "--frames", 2, clip, "a.bin")
    nvc("encode", "--model", "integers", "--frames", 2, clip, "b.bin")
    assert (work / "a.bin").read_bytes() == (work / "b.bin").read_bytes()
    floating = "encode", "--model", "integers", "--precision", "float32", clip, "c.bin"
    assert "use precision int16, not float32" in nvc(*floating).refusal()
    assert nvc("encode", "--precision", "float32", "--frames", 1, clip, "f.nvc").code == 0
    assert "made in float32" in nvc("decode", "--model", "integers", "f.nvc", "f.y4m").refusal()
    assert "export its float model" in nvc("convert", "integers", "i.pth", "v.pth").refusal()


def test_demo_of_a_track(nvc, work):
    with av.open(str(work / "two.mkv"), "w") as sink:
        for size in ((64, 48), (WIDTH, HEIGHT)):
            stream = sink.add_stream("libx264", rate=25)
            stream.width, stream.height = size
        for number in (0, 1):
            for stream in sink.streams.video:
                grey = np.full((stream.height, stream.width), 100 + 50 * number, np.uint8)
                sink.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "gray").reformat(format="yuv420p")))
        for stream in sink.streams.video:
            sink.mux(stream.encode(None))
    assert nvc("demo", "--video", "two.mkv", "--track", 1, "--out", "made").code == 0
    assert read_png(work / "made" / "side_by_side.png").shape == (HEIGHT, 4 * WIDTH, 3)
    assert "has no video track 2" in nvc("demo", "--video", "two.mkv", "--track", 2).refusal()


def test_demo_takes_the_beginning(nvc, clip, monkeypatch):
    from nvc_jax.demo import run as demo

    monkeypatch.setattr(demo, "FRAMES", 2)
    points = nvc("demo", "--video", clip, "--json").json()["points"]
    assert all(point["identical"] for point in points)
    assert nvc("info", "demo/qp32.nvc", "--json").json()["frames"] == 2


def test_demo(nvc, work, monkeypatch):
    pytest.importorskip("skimage")
    from nvc_jax.demo import run as demo

    monkeypatch.setattr(demo, "write_demo", lambda path, write=demo.write_demo: write(path, WIDTH, HEIGHT, 2))
    results = nvc("demo", "--json").json()
    assert [point["qp"] for point in results["points"]] == [10, 32, 54]
    assert all(point["identical"] and point["bpp"] > 0 for point in results["points"])
    assert (work / "demo" / "source.y4m").exists()
    assert read_png(work / "demo" / "side_by_side.png").shape == (HEIGHT, 4 * WIDTH, 3)


def test_demo_without_photographs(nvc, work, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)  # as if not installed
    with unchanged(work):
        assert 'pip install "nvc-jax[demo]"' in nvc("demo").refusal()
