"""Checksums against known answers."""

import numpy as np
import pytest

from nvc_jax.io.checks import Check

# XXH3-64 with seed 0 of 0, 1, 2, ... modulo 251, in lengths that take each of its ways.
ANSWERS = {
    0: 0x2D06800538D394C2,
    1: 0xC44BDFF4074EECDB,
    8: 0x3A1C2D7C85AF88F8,
    16: 0x8355E3A6F61770DB,
    100: 0x004E4F921A64BD1C,
    200: 0xF42A8864FEAF0703,
    1000: 0x33EF703FB2B20ED1,
    5000: 0xB418500FC42320EE,
}


@pytest.mark.parametrize(("length", "answer"), ANSWERS.items())
def test_known_answers(length, answer):
    data = bytes(i % 251 for i in range(length))
    check = Check()
    check.update(data[: length // 3])
    check.update(np.frombuffer(data[length // 3 :], np.uint8))
    assert check.value(64) == answer
    assert check.value() == answer % 2**32
    assert check.value(24) == answer % 2**24
