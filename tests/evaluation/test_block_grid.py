"""The step index of a grid of blocks, and the measurement of what deblocking leaves of it."""

from fractions import Fraction

import numpy as np
import pytest
import synthetic

from nvc_jax.errors import ConfigError
from nvc_jax.evaluation.block_grid import StepIndex, measure
from nvc_jax.video import Colour, VideoInfo, create_video


def index(*pictures):
    steps = StepIndex()
    for picture in pictures:
        steps.add(picture)
    return steps.value


def test_of_known_pictures():
    y, x = np.mgrid[:48, :64]
    slope, grid = (x + y).astype(np.uint8), (x // 16 + y // 16).astype(np.uint8)
    assert index(slope) == 1
    assert index(slope + 2 * grid) == 3  # a step is 3 across an edge and 1 elsewhere
    assert index(slope, slope + 2 * grid) == 2
    assert index((slope + 2 * grid)[3:, 3:]) < 1  # edges elsewhere are none
    assert index(grid) == np.inf
    assert index(grid * 0) == index(slope[:9, :9]) == 1


def test_deblocking_leaves_less(tmp_path):
    clip = tmp_path / "clip.y4m"
    with create_video(clip, VideoInfo(33, 40, Fraction(25), Colour(1, 1, 1, False), 2)) as writer:
        for frame in synthetic.moving_picture(33, 40, 2):
            writer.write(frame)
    points = list(measure(synthetic.tiny_model(motion=True), [0, 38], [str(clip)], [0], None))
    assert [(point.deblocking, point.qp) for point in points] == [(0, 0), (38, 0)]
    assert points[1].decoded < points[0].decoded
    assert points[0].source == points[1].source
    assert points[0].kbits > 0
    with pytest.raises(ConfigError, match="has no deblocking"):
        next(measure(synthetic.tiny_model(), [38], [str(clip)], [0], None))
