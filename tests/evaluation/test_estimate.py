"""Measuring without decoding gives the figures of real streams."""

import json

import numpy as np
import pytest
import synthetic

from nvc_jax.entropy.coder import EntropyCoder
from nvc_jax.entropy.tables import gaussian_tables, symbol_bits


def points_of(path):
    return list(json.loads(path.read_text())["clips"]["estimate.y4m"].values())


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("tiny", ("--container", "dcvc")),
        pytest.param("moving", (), marks=pytest.mark.slow),
        pytest.param("tiny", ("--precision", "bfloat16", "--rdoq", 0), marks=pytest.mark.slow),
        pytest.param("moving", ("--container", "dcvc", "--no-skip-blocks"), marks=pytest.mark.slow),
    ],
)
def test_estimates_are_the_figures_of_the_stream(
    evaluate, make_clip, tiny_model, moving_model, tmp_path, kind, options
):
    # An intra frame in the middle, refreshes at 1, 5, 9.
    clip = make_clip(64, 48, 11, "estimate.y4m")
    arguments = [
        "--model",
        tiny_model if kind == "tiny" else moving_model,
        "--videos",
        clip,
        "--qps",
        0,
        30,
        63,
        "--intra-period",
        7,
        "--reset-interval",
        4,
        *options,
    ]
    assert evaluate(*arguments) == 0
    real = points_of(tmp_path / "out.json")
    assert evaluate(*arguments, "--estimate") == 0
    estimated = points_of(tmp_path / "out.json")
    for ours, theirs in zip(estimated, real, strict=True):
        assert ours["stream"] is None
        assert ours["settings"]["estimated"]
        assert ours["frame_type"] == theirs["frame_type"] == [0] + [1] * 6 + [0] + [1] * 3
        for key in ("ave_all_frame_bpp", "frame_bits", "frame_payload_bits", "frame_psnr"):
            assert ours[key] == theirs[key]


SYMBOLS = (-128, -40, -3, -1, 0, 1, 2, 17, 127)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_bits_of_symbols_are_what_the_coder_spends(symbol):
    z_tables = synthetic.tiny_model().tables["inter"]
    coder, nothing = EntropyCoder(z_tables, "one_stream"), np.zeros((8, 0, 0), np.int8)
    for row in (0, 60, 127):
        plane = np.full(4000, symbol, np.int8), np.full(4000, row, np.uint8)
        expected = 4000 * symbol_bits(gaussian_tables())[row, symbol + 128] / 8
        assert len(coder.encode(0, nothing, [plane])[0]) == pytest.approx(expected, abs=8, rel=1e-3)
    expected = 500 * symbol_bits(z_tables)[:8, symbol + 128].sum() / 8  # qp 0 has the first rows, one per channel
    assert len(coder.encode(0, np.full((8, 500, 1), symbol, np.int8), [])[0]) == pytest.approx(
        expected, abs=8, rel=1e-3
    )
