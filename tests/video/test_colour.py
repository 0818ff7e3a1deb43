import numpy as np
import pytest

from nvc_jax.video import Colour, RgbFrame, VideoInfo, YuvFrame, rgb_to_yuv, yuv_to_rgb
from nvc_jax.video.colour import coded_colour, matrix_weights


def flat(rgb, size=(3, 5)):
    return RgbFrame(np.full((*size, 3), rgb, np.uint8))


def values(frame):
    return frame.y[0, 0], frame.u[0, 0], frame.v[0, 0]


@pytest.mark.parametrize(
    ("colour", "rgb", "expected"),
    [  # ITU-R BT.709-6 and BT.601-7, colour bars
        (Colour(matrix=1, full_range=False), (255, 255, 255), (235, 128, 128)),
        (Colour(matrix=1, full_range=False), (0, 0, 0), (16, 128, 128)),
        (Colour(matrix=1, full_range=False), (255, 0, 0), (63, 102, 240)),
        (Colour(matrix=6, full_range=False), (255, 0, 0), (81, 90, 240)),
        (Colour(matrix=6, full_range=False), (0, 0, 255), (41, 240, 110)),
        (Colour(matrix=1, full_range=True), (255, 255, 255), (255, 128, 128)),
        (Colour(matrix=1, full_range=True), (0, 255, 0), (182, 30, 12)),
    ],
)
def test_known_values(colour, rgb, expected):
    assert values(rgb_to_yuv(flat(rgb), colour)) == expected


@pytest.mark.parametrize("matrix", [1, 4, 6, 7, 9, None])
@pytest.mark.parametrize("full", [True, False, None])
def test_round_trip_of_flat_colours(matrix, full):
    colour = Colour(matrix=matrix, full_range=full)
    for rgb in np.random.default_rng(1).integers(0, 256, (50, 3)):
        back = yuv_to_rgb(rgb_to_yuv(flat(rgb), colour), colour).rgb
        assert back.shape == (3, 5, 3)
        assert np.abs(back.astype(int) - rgb).max() <= 3  # two roundings, stretched by at most 255/224 * 1.88


def test_chroma_is_the_average_and_is_repeated():
    u = np.array([[100, 150]], np.uint8)
    frame = YuvFrame(np.full((2, 3), 128, np.uint8), u, np.full((1, 2), 128, np.uint8))
    rgb = yuv_to_rgb(frame, Colour(matrix=1, full_range=True)).rgb
    assert (rgb[:, 0] == rgb[:, 1]).all()
    assert (rgb[0] == rgb[1]).all()
    assert rgb[0, 2, 2] == round(128 + 22 * 1.8556)
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[0, 0] = (0, 0, 255)  # one blue pixel in four
    assert rgb_to_yuv(RgbFrame(picture), Colour(matrix=1, full_range=True)).u.tolist() == [[160, 128]]


def test_unspecified_matrix_goes_by_height():
    assert matrix_weights(Colour(), 575) == (0.299, 0.114)
    assert matrix_weights(Colour(), 576) == (0.2126, 0.0722)
    assert matrix_weights(Colour(matrix=8), 1080) == (0.2126, 0.0722)


def test_rgb_sources_are_coded_as_full_range_bt709():
    assert coded_colour(VideoInfo(2, 2, is_rgb=True)) == Colour(1, 13, 1, True, "center")
    assert coded_colour(VideoInfo(2, 2)) == Colour()
