"""A tiny codec still writes the bytes and gives the pictures it used to. No other files are needed.

A failure means that streams made before can no longer be decoded. If that is intended: tools/make_test_data.py.
"""

import numpy as np
import pytest
import recording
import regression


@pytest.mark.parametrize("name", regression.CASES)
def test_streams_stay_what_they_were(tiny_codec, name):
    case = regression.CASES[name]
    with np.load(regression.DATA) as data:
        seed, stream = int(data[f"{name}/seed"]), data[f"{name}/stream"].tobytes()
        pictures = [data[f"{name}/{plane}"] for plane in "yuv"]
    assert regression.encode(tiny_codec, case, seed)[0] == stream
    decoded = regression.decode(tiny_codec, case, stream)
    for planes, y, u, v in zip(decoded, *pictures, strict=True):
        recording.assert_planes(planes, y, (u, v))
