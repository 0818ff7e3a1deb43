"""Whatever a user gets wrong: exit code 1, one sentence that says what, nothing left behind and nothing lost."""

import json
import os
import shutil

import numpy as np
import pytest
import synthetic
from command_line import FRAMES, HEIGHT, WIDTH, unchanged

from nvc_jax.codec.store import load_model, make_model, save_model
from nvc_jax.video import write_png

SIZE = f"{WIDTH}x{HEIGHT}"


@pytest.fixture
def refused(nvc, work):
    """refused(sentence, "encode", ...): the command fails with a sentence that holds these words."""

    def check(words, *arguments):
        with unchanged(work):
            sentence = nvc(*arguments).refusal()
        assert words in sentence, sentence

    return check


# Sources


def test_source_that_is_no_video(refused, work):
    (work / "text.mp4").write_text("This is not a video.\n" * 100)
    (work / "text.y4m").write_text("This is not a video.\n" * 100)
    (work / "text").write_text("This is not a video.\n" * 100)
    (work / "empty.mp4").touch()
    (work / "folder").mkdir()
    refused("missing.y4m: no such file", "encode", "missing.y4m", "s.bin")
    refused("text.mp4: is not a video that can be read", "encode", "text.mp4", "s.bin")
    refused("text.y4m: is not y4m", "encode", "text.y4m", "s.bin")
    refused("text: is not a video that can be read", "encode", "text", "s.bin")
    refused("empty.mp4: is empty", "encode", "empty.mp4", "s.bin")
    refused("folder", "encode", "folder", "s.bin")
    refused("missing.mp4: no such file", "demo", "--video", "missing.mp4", "--out", "made")


def test_truncated_video(refused, work, clip):
    data = clip.read_bytes()
    (work / "cut.y4m").write_bytes(data[:-1])
    refused(f"cut.y4m: ends in the middle of frame {FRAMES - 1}", "encode", "cut.y4m", "s.bin")
    refused(f"cut.y4m: ends in the middle of frame {FRAMES - 1}", "demo", "--video", "cut.y4m", "--out", "made")
    (work / "cut.y4m").write_bytes(data[:40])
    refused("cut.y4m", "encode", "cut.y4m", "s.bin")
    (work / "cut.y4m").write_bytes(data[: data.index(b"FRAME")])
    refused("cut.y4m: holds no frames", "encode", "cut.y4m", "s.bin")


def test_size_of_raw_video(refused, work, make_clip, frames, clip):
    raw = make_clip("clip.yuv", frames)
    refused("give --size WxH", "encode", raw, "s.bin")
    refused("wrong --size?", "encode", raw, "s.bin", "--size", "33x48")
    refused("out of range", "encode", raw, "s.bin", "--size", "0x48")
    refused("out of range", "encode", raw, "s.bin", "--size", "99999x48")
    refused("wrong --size?", "encode", clip, "s.bin", "--size", "33x48")
    for size in ("48", "x", "axb", "-3x4", "32x48x2"):
        refused("is not of the form WIDTHxHEIGHT", "encode", raw, "s.bin", f"--size={size}")


def test_pictures_of_different_sizes(refused, work):
    (work / "in").mkdir()
    for number, width in enumerate((WIDTH, WIDTH + 2)):
        write_png(work / "in" / f"{number}.png", np.zeros((HEIGHT, width, 3), np.uint8))
    refused("1.png", "encode", "in", "s.bin")


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--qp", "64"], "qp is 64; it must be from 0 to 63"),
        (["--qp", "-1"], "qp is -1; it must be from 0 to 63"),
        (["--qp", "nan"], "qp is nan; it must be from 0 to 63"),
        (["--qp", "inf"], "qp is inf; it must be from 0 to 63"),
        (["--intra-qp", "64"], "intra qp is 64; it must be from 0 to 63"),
        (["--qp", "20.5"], "20.5 is not a whole number"),
        (["--intra-period", "0"], "intra period is 0"),
        (["--intra-period", "-2"], "intra period is -2"),
        (["--reset-interval", "-1"], "reset interval is -1"),
        (["--frames", "0"], "--frames is 0"),
        (["--skip-threshold", "some"], "--skip-threshold some is neither none nor a number from 0 to 16"),
        (["--skip-threshold", "nan"], "--skip-threshold nan"),
        (["--skip-threshold", "17"], "--skip-threshold 17"),
        (["--fps", "0"], "--fps 0 is not a frame rate"),
        (["--fps", "1/0"], "--fps 1/0 is not a frame rate"),
        (["--fps", "nan"], "--fps nan is not a frame rate"),
        (["--precision", "float64"], "choose from float32, bfloat16, float16, int16"),
        (["--model", "missing"], "missing: not a model"),
    ],
    ids=" ".join,
)
def test_option_values(refused, clip, options, words):
    refused(words, "encode", clip, "s.bin", *options)


def test_usage(nvc, work, clip):
    with unchanged(work):
        for arguments in (
            [],
            ["transcode"],
            ["encode"],
            ["encode", clip],
            ["encode", clip, "s.bin", "--qp", "high"],
            ["encode", clip, "s.bin", "--frames", "1.5"],
            ["encode", clip, "s.bin", "--container", "mp4"],
            ["encode", clip, "s.bin", "--intra", "3"],  # no abbreviations: scripts must not break when options come
            ["decode", clip, "s.bin", "--size", SIZE],
            ["info"],
            ["models", "all"],
            ["convert", "a.pth", "b.pth"],
            ["convert", "--int16", "model", "integers", "more"],
            ["demo", "--frames", "3"],
        ):
            result = nvc(*arguments)
            assert result.code == 2, arguments
            assert result.err.startswith("usage: nvc-jax"), arguments
            assert not result.out, arguments


# Outputs


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_output_that_cannot_be_written(refused, work, clip, stream, command):
    source, kind = (clip, "nvc") if command == "encode" else (stream, "y4m")
    (work / f"folder.{kind}").mkdir()
    (work / f"locked.{kind}").touch(mode=0o444)
    refused("is a folder", command, source, f"folder.{kind}")
    refused("the folder nowhere does not exist; make it first", command, source, f"nowhere/out.{kind}")
    refused("No space left on device", command, source, "/dev/full")
    refused("the folder nowhere does not exist", command, source, f"out.{kind}", "--report", "nowhere/r.json")
    refused(f"folder.{kind}: is a folder", command, source, f"out.{kind}", "--report", f"folder.{kind}")
    if os.geteuid():
        refused(f"locked.{kind}: is write-protected", command, source, f"locked.{kind}")


def test_kinds_of_output(refused, work, stream, clip):
    (work / "notes").mkdir()
    (work / "notes" / "notes.txt").write_text("mine")
    refused("cannot write .avi files; use one of .y4m", "decode", stream, "out.avi")
    refused("holds other files (notes.txt)", "decode", stream, "notes")
    refused("is one picture", "decode", stream, "out.png")


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_output_that_is_the_input(refused, work, clip, stream, command):
    source, other = (clip, "b.nvc") if command == "encode" else (stream, "b.y4m")
    shutil.copy(source, work / "a")
    (work / "link").symlink_to("a")
    os.link(work / "a", work / "twin")
    for name in ("a", "./a", "link", "twin"):
        refused(f"{name}: is the input itself; give the output another name", command, "a", name)
        refused("is also the input or the output", command, "a", other, "--report", name)
    for name in (other, f"./{other}", work / other):
        refused("is also the input or the output", command, "a", other, "--report", name)
    refused("is also the input or the output", command, "a", "-", "--report", "-")


def test_full_disk_loses_only_the_report(nvc, work, stream):
    result = nvc("decode", stream, "d.y4m", "--report", "/dev/full")
    assert result.code == 1
    assert result.out.startswith("d.y4m: ")  # it is there, and the user knows
    assert result.err.splitlines()[-1] == "nvc-jax: /dev/full: cannot write (No space left on device)."
    assert {path.name for path in work.iterdir()} == {"d.y4m"}


# Models


@pytest.fixture
def broken(model, work):
    """A copy of the model to damage."""
    shutil.copytree(model, work / "broken")
    return work / "broken"


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", ["config.json", "tables.npz", "params", "params/_METADATA", "params/manifest.ocdbt"])
def test_model_without_a_file(refused, broken, stream, name):
    path = broken / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    refused("broken: ", "decode", stream, "d.y4m", "--model", "broken")


def test_model_with_a_damaged_file(refused, broken, stream):
    rng = np.random.default_rng(1)
    files = sorted(path for path in broken.rglob("*") if path.is_file() and path.name != "config.json")
    for path in files:
        original = path.read_bytes()
        damaged = bytearray(original)
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        for data in (damaged, original[: len(original) // 2], b""):
            path.write_bytes(data)
            words = f"{path.relative_to(broken)} is damaged; convert or copy the model again"
            refused(words, "decode", stream, "d.y4m", "--model", "broken")
        path.write_bytes(original)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": 1}', '{"format": 9}', "[" * 100_000, "\xff", '{"format": [], "a": {}}']
)
def test_model_with_a_damaged_description(refused, broken, stream, text):
    (broken / "config.json").write_text(text, encoding="latin-1")
    refused("broken: ", "decode", stream, "d.y4m", "--model", "broken")


def test_model_with_an_edited_description(refused, broken, stream):
    config = json.loads((broken / "config.json").read_text())["config"]
    for changes, words in (
        ({"config": config | {"inter": config["inter"] | {"width": 32}}}, "do not belong together"),
        ({"config": config | {"inter": config["inter"] | {"width": -1}}}, "must be an integer of 1 to 8192"),
        ({"config": config | {"inter": config["inter"] | {"depth": 3}}}, "not a codec configuration"),
        ({"config": {}}, "not a codec configuration"),
        ({"config": None}, "not a codec configuration"),
        ({"config": config, "identity": "0" * 64}, "do not belong together"),
        ({"identity": None}, "it has no identity"),
        ({"identity": "0" * 64, "sha256": ["?"]}, "do not belong together"),
        ({"intra_qp_offsea": 8}, "unknown key 'intra_qp_offsea'"),
    ):
        edit(broken, **changes)
        refused(words, "decode", stream, "d.y4m", "--model", "broken")


def test_model_with_parts_of_another(refused, broken, model, stream, work):
    ours = load_model(model)
    params = {kind: dict(tree) for kind, tree in ours.params.items()}
    params["inter"]["recon_out"] = {name: 2 * leaf for name, leaf in params["inter"]["recon_out"].items()}
    save_model(work / "other", make_model(ours.config, params, "other"))
    shutil.rmtree(broken / "params")
    shutil.copytree(work / "other" / "params", broken / "params")
    refused("broken: ", "decode", stream, "d.y4m", "--model", "broken")
    edit(broken, sha256={})  # as a careless hand might
    refused("do not belong together", "decode", stream, "d.y4m", "--model", "broken")


def test_size_beyond_the_memory(refused, monkeypatch, make_clip):
    from nvc_jax.codec import memory

    source = make_clip("wide.y4m", synthetic.moving_picture(2048, 16, 1))
    monkeypatch.setattr(memory, "_memory", lambda: 1 << 20)
    refused("pictures of 2048x16 need more than", "encode", source, "s.bin")
