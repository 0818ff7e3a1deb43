"""Labels of the demonstration's picture."""

import numpy as np
import pytest

from nvc_jax.demo.labels import labelled, text_mask
from nvc_jax.errors import ConfigError


def test_glyphs():
    drawn = ["".join("#" if pixel else "." for pixel in row) for row in text_mask("qp")]
    assert drawn == [
        "...........",
        "...........",
        ".##.#.####.",
        "#..##.#...#",
        ".####.####.",
        "....#.#....",
        "....#.#....",
    ]


def test_labels_are_in_the_corner_and_grow_with_the_picture():
    picture = np.full((240, 320, 3), 100, np.uint8)
    result = labelled(picture, "qp 32  1205 kbit/s")
    assert np.array_equal(np.unique(result), [25, 100, 255])
    assert (picture == 100).all()
    assert (result[22:] == 100).all()  # (7 + 2 * 2) pixels, twice as large
    assert (result[:22, :4] == 25).all()
    small = labelled(picture[:5, :9], "source")
    assert small.shape == (5, 9, 3)


def test_other_characters_are_refused():
    with pytest.raises(ConfigError, match=r"the font of labels has no 'é'\."):
        labelled(np.zeros((9, 9, 3), np.uint8), "é")
