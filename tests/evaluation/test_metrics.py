"""PSNR and MS-SSIM against float64, and against the official values of golden streams."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
import reference_metrics as reference
import streams
import synthetic

from nvc_jax.codec.decoder import Decoder
from nvc_jax.evaluation.metrics import frame_quality, picture_quality
from nvc_jax.video import RgbFrame, YuvFrame, chroma_size


def picture_of(rng, height, width):
    """A padded codec picture [1, H', W', 3], somewhat beyond 0..1, and the 8-bit planes it is a bad copy of."""
    source = synthetic.moving_picture(width, height, 1)[0]
    columns, rows = chroma_size(width, height)
    up = [np.repeat(np.repeat(c, 2, 0), 2, 1)[:height, :width] for c in (source.u, source.v)]
    exact = np.stack([source.y, *up], -1) / 255
    noisy = 1.1 * exact - 0.04 + rng.normal(0, 0.03, exact.shape)
    padded = np.pad(noisy, ((0, -height % 16), (0, -width % 16), (0, 0)), mode="edge")
    assert source.u.shape == (rows, columns)
    return padded[None].astype(np.float32), source


def unrounded(picture, height, width):
    """The planes of a picture, by the official rule: float64, clamped, not rounded."""
    cropped = picture[0, :height, :width].astype(np.float64)
    even = np.pad(cropped, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    chroma = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
    planes = cropped[..., 0], chroma[..., 1], chroma[..., 2]
    return [np.clip(255 * plane, 0, 255) for plane in planes]


def assert_equals_reference(quality, decoded, source):
    """decoded, source: planes in 0..255."""
    psnr = [reference.psnr(*pair) for pair in zip(decoded, source, strict=True)]
    msssim = [reference.msssim(a, b) if min(a.shape) >= 88 else None for a, b in zip(decoded, source, strict=True)]
    known = [(w, m) for w, m in zip([6, 1, 1], msssim, strict=True) if m is not None]
    weighted = sum(w * m for w, m in known) / sum(w for w, _ in known) if known else None
    assert quality.psnr == pytest.approx([np.dot([6, 1, 1], psnr) / 8, *psnr], abs=1e-6)
    for value, expected in zip(quality.msssim, [weighted, *msssim], strict=True):
        assert value == (None if expected is None else pytest.approx(expected, abs=1e-5))


@pytest.mark.parametrize(
    ("width", "height"),
    [
        pytest.param(352, 352, marks=pytest.mark.slow),
        (200, 179),
        pytest.param(178, 180, marks=pytest.mark.slow),
        (176, 144),
    ],
)
def test_quality_of_a_picture_equals_float64(width, height):
    picture, source = picture_of(np.random.default_rng(0), height, width)
    quality = picture_quality(jnp.asarray(picture), source)
    assert_equals_reference(quality, unrounded(picture, height, width), (source.y, source.u, source.v))


def test_quality_of_an_rgb_source():
    rng = np.random.default_rng(1)
    source = RgbFrame(rng.integers(0, 256, (96, 112, 3), np.uint8))
    luma = np.full((1, 96, 112, 3), 0.5, np.float32) + rng.normal(0, 0.2, (1, 96, 112, 3)).astype(np.float32)
    y, cb, cr = (luma[0, ..., i].astype(np.float64) - (0.5 if i else 0) for i in range(3))
    red, blue = y + 1.5748 * cr, y + 1.8556 * cb
    green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
    rgb = np.clip(255 * np.stack([red, green, blue], -1), 0, 255)
    quality = picture_quality(jnp.asarray(luma), source)
    assert quality.psnr == pytest.approx([reference.psnr(rgb, source.rgb)], abs=1e-6)
    expected = np.mean([reference.msssim(rgb[..., i], source.rgb[..., i]) for i in range(3)])
    assert quality.msssim == pytest.approx([expected], abs=1e-5)


def test_equal_frames_and_small_ones():
    frame = synthetic.moving_picture(200, 200, 1)[0]
    assert frame_quality(frame, frame).psnr == (99.9,) * 4
    assert frame_quality(frame, frame).msssim == pytest.approx([1.0] * 4, abs=1e-6)
    small = synthetic.moving_picture(64, 64, 1)[0]
    assert frame_quality(small, small).msssim == (None,) * 4  # not defined below 88 pixels
    assert frame_quality(small, small).finite
    chroma_too_small = synthetic.moving_picture(174, 174, 1)[0]
    assert frame_quality(chroma_too_small, chroma_too_small).msssim == (pytest.approx(1), pytest.approx(1), None, None)
    rgb = RgbFrame(np.zeros((64, 64, 3), np.uint8))
    assert picture_quality(jnp.zeros((1, 64, 64, 3)), rgb).msssim == (None,)


def test_values_that_are_not_numbers_are_seen():
    frame = synthetic.moving_picture(32, 32, 1)[0]
    assert not picture_quality(jnp.full((1, 32, 32, 3), jnp.nan), frame).finite


@pytest.mark.parametrize("name", ["a_96x64_qp21-21", pytest.param("c_130x98_qp55-63", marks=pytest.mark.slow)])
def test_psnr_of_decoded_golden_streams(golden_codec, golden, name):
    settings = json.loads((golden / "streams.json").read_text())[f"stream_{name}"]
    with np.load(golden / settings["input"]) as data:
        source = [YuvFrame(y, *uv) for y, uv in zip(data["y"], data["uv"], strict=True)]
    decoder = Decoder(golden_codec(settings["scale_mode"]), settings["force_zero_thres"])
    stream = (golden / f"stream_{name}.bin").read_bytes()
    decoded = zip(decoder.frames(streams.reader(stream)), source, settings["psnr_y"], strict=False)
    for frame, original, psnr_y in decoded:
        assert picture_quality(frame.picture, original).psnr[1] == pytest.approx(psnr_y, abs=1e-3)


@pytest.mark.parametrize("size", ["176x144", "130x98"])
def test_golden_pictures_equal_float64(golden, size):
    width, height = map(int, size.split("x"))
    with np.load(golden / "image.npz") as data:
        y, uv = data[f"{size}/y420"], data[f"{size}/uv420"]
        source = YuvFrame(y.reshape(height, width), *uv.reshape(2, height // 2, width // 2))
        name = next(name for name in data.files if name.startswith(size) and name.endswith("x_hat"))
        picture = np.ascontiguousarray(data[name].transpose(0, 2, 3, 1))
    quality = picture_quality(jnp.asarray(picture), source)
    assert_equals_reference(quality, unrounded(picture, height, width), (source.y, source.u, source.v))


@pytest.mark.slow
def test_a_large_golden_frame_equals_float64(golden):
    settings = json.loads((golden / "streams.json").read_text())["stream_f_1312x736_qp42-42"]
    with np.load(golden / settings["input"]) as data:
        source = YuvFrame(data["y"][0], *data["uv"][0])
    with np.load(golden / "stream_f_1312x736_qp42-42_dec.npz") as data:
        decoded = YuvFrame(data["y"][1], *data["uv"][1])
    assert_equals_reference(frame_quality(decoded, source), *((f.y, f.u, f.v) for f in (decoded, source)))
