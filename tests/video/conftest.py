"""Small moving pictures for the tests of video files."""

from fractions import Fraction

import av
import numpy as np
import pytest

from nvc_jax.video import RgbFrame, YuvFrame, chroma_size


@pytest.fixture
def yuv_frames():
    """Smooth moving gradients, which lossy codecs reproduce closely: yuv_frames(width, height, count)."""

    def make(width, height, count):
        columns, rows = chroma_size(width, height)
        frames = []
        for t in range(count):
            y = 128 + 80 * np.sin(np.add.outer(np.arange(height), np.arange(width)) / 9 + t / 3)
            u = 128 + 40 * np.cos(np.add.outer(np.arange(rows), np.arange(columns)) / 7 + t / 3)
            frames.append(YuvFrame(*(np.rint(p).astype(np.uint8) for p in (y, u, 255 - u))))
        return frames

    return make


@pytest.fixture
def noise_frames():
    """Random planes, which only lossless formats keep: noise_frames(width, height, count)."""

    def make(width, height, count):
        rng = np.random.default_rng(7)
        shapes = [(height, width), *[chroma_size(width, height)[::-1]] * 2]
        return [YuvFrame(*(rng.integers(0, 256, s, np.uint8) for s in shapes)) for _ in range(count)]

    return make


@pytest.fixture
def rgb_frames():
    """Random RGB: rgb_frames(width, height, count)."""

    def make(width, height, count):
        rng = np.random.default_rng(8)
        return [RgbFrame(rng.integers(0, 256, (height, width, 3), np.uint8)) for _ in range(count)]

    return make


@pytest.fixture
def film():
    """Files made by FFmpeg, not by the code under test: film(path, codec, times, ...).

    times: of the frames, in units of 1 / rate. Every frame is one grey, another than that of the frames around it.
    """

    def make(path, codec, times, *, rate=25, layout="yuv420p", size=(32, 32), form=None, options=None, tune=None):
        rate = Fraction(rate)
        with av.open(str(path), "w", format=form) as sink:
            stream = sink.add_stream(codec, rate=rate, options=options or {})
            stream.width, stream.height, stream.pix_fmt = *size, layout
            if tune is not None:
                tune(stream)
            for number, time in enumerate(times):
                grey = np.full((size[1], size[0]), 16 + 8 * number % 216, np.uint8)
                frame = av.VideoFrame.from_ndarray(grey, "gray")
                frame.color_range = 2
                frame = frame.reformat(format=layout, src_color_range=2, dst_color_range=2)
                frame.pts, frame.time_base = time, 1 / rate
                sink.mux(stream.encode(frame))
            sink.mux(stream.encode(None))
        return path

    return make
