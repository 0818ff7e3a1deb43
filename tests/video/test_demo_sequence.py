import builtins
import itertools

import numpy as np
import pytest

from nvc_jax.demo.sequence import demo_sequence
from nvc_jax.errors import ConfigError

pytest.importorskip("skimage", reason="needs the optional extra demo")


def test_is_natural_moving_and_deterministic():
    info, frames = demo_sequence()
    frames = list(frames)
    assert (info.width, info.height, info.frames, len(frames)) == (352, 288, 33, 33)
    again = demo_sequence(frames=2)[1]
    assert [f.tobytes() for f in again] == [f.tobytes() for f in frames[:2]]
    assert all(f.y.shape == (288, 352) and f.u.shape == (144, 176) for f in frames)
    assert frames[0].y.std() > 30  # a photograph, not a flat field
    changes = [np.abs(a.y.astype(int) - b.y).mean() for a, b in itertools.pairwise(frames)]
    assert 2 < min(changes)  # always moving
    assert max(changes) < 2 * min(changes)  # without a jump


@pytest.mark.parametrize("size", [(17, 33), (16, 16), (640, 360)])
def test_any_size(size):
    info, frames = demo_sequence(*size, frames=1)
    assert (info.width, info.height) == next(frames).size == size


def test_out_of_range():
    with pytest.raises(ConfigError, match="0 frames; ask for at least one"):
        demo_sequence(frames=0)
    with pytest.raises(ConfigError, match="size 0x16 is out of range"):
        demo_sequence(0, 16)


def test_without_scikit_image(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] in ("PIL", "skimage"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r'pip install "nvc-jax\[demo\]"'):
        demo_sequence()
