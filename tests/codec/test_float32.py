"""float32 by the convolutions in C++: the same bits whichever of them a processor can run."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import synthetic

from native_coder import float32_functions  # noqa: TID251
from nvc_jax.codec.floats import XLA
from nvc_jax.codec.loop import batched, encode
from nvc_jax.codec.model import Codec
from nvc_jax.codec.pictures import upload
from nvc_jax.errors import ConfigError
from nvc_jax.ops import native

KINDS = native.available("float32")
SIZE = 80, 48
QP = 40

PROGRAM = """
import sys
sys.path[:0] = sys.argv[2:]
from test_float32 import digest
print(digest(sys.argv[1]))
"""


def digest(strategy):
    """Hash every bit that an intra and an inter frame leave behind."""
    codec = Codec(synthetic.tiny_model(motion=True), "float32", strategy)
    networks, qps = codec.networks(0.12), batched((QP,))
    pictures, found = None, hashlib.sha256()
    for name, frame in zip(("intra", "inter"), synthetic.moving_picture(*SIZE, 2), strict=True):
        state = networks[name].network.start(pictures)
        symbols, synthesis = encode(networks[name], upload([frame]), state, qps)
        pictures = networks[name].reconstruct(synthesis, qps)
        for leaf in jax.tree.leaves((symbols.pack().to_host(), synthesis, pictures)):
            found.update(np.asarray(leaf).tobytes())
    return found.hexdigest()


@pytest.mark.slow
@pytest.mark.skipif(not float32_functions(), reason="this processor has neither AVX2 nor AVX-512")
def test_machines_agree():
    """All kinds of functions; and XLA without AVX-512, and on one thread."""
    (expected,) = {digest(kind) for kind in KINDS}
    here = Path(__file__).parent
    for flags in ("--xla_cpu_max_isa=AVX2", "--xla_cpu_multi_thread_eigen=false"):
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, KINDS[-1], here.parent, here],
            env=os.environ | {"XLA_FLAGS": flags, "NPROC": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == expected


def test_strategies_by_name(monkeypatch):
    assert Codec(synthetic.tiny_model(), "float32").strategy == [*KINDS, XLA][0]
    with monkeypatch.context() as patched:
        patched.setattr(native, "available", lambda precision: ())
        assert Codec(synthetic.tiny_model(), "float32").strategy == XLA
    assert Codec(synthetic.tiny_model(), "bfloat16").strategy == [*native.available("bfloat16"), XLA][0]
    for precision, strategy in (("float32", "abacus"), ("bfloat16", "avx2")):
        with pytest.raises(ConfigError, match=f"unknown kernel backend '{strategy}'; available: "):
            Codec(synthetic.tiny_model(), precision, strategy)
