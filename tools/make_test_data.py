"""Makes tests/data/golden_tiny.npz, by which a clone without golden files notices a change of arithmetic or format.

    .venv/bin/python tools/make_test_data.py

Run it only when such a change is intended. For each case of tests/regression.py it looks for a moving picture none
of whose latents and scales comes near a decision, so that every machine must write the same bytes.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import regression
import synthetic

from nvc_jax.codec.model import Codec

MIN_MARGIN = 5e-4


def main() -> None:
    """Search, and write the file."""
    codec = Codec(synthetic.tiny_model())
    arrays = {}
    for name, case in regression.CASES.items():
        for seed in range(1000):
            stream, records = regression.encode(codec, case, seed)
            margin = regression.margin(case, records)
            if margin >= MIN_MARGIN:
                break
        else:
            raise SystemExit(f"{name}: no seed has a margin of {MIN_MARGIN}")
        planes = regression.decode(codec, case, stream)
        arrays[f"{name}/seed"] = np.array(seed)
        arrays[f"{name}/stream"] = np.frombuffer(stream, np.uint8)
        arrays |= {f"{name}/{p}": np.stack([getattr(frame, p) for frame in planes]) for p in "yuv"}
        print(f"{name}: seed {seed}, margin {margin:.1e}, {len(stream)} bytes")
    np.savez_compressed(regression.DATA, **arrays)
    print(f"{regression.DATA}: {regression.DATA.stat().st_size} bytes")


if __name__ == "__main__":
    main()
