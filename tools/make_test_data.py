"""Make tests/data/golden_tiny.npz, by which a clone without golden files detects changes of arithmetic or format.

Run it only when such a change is intended. For each case of tests/regression.py it searches a moving picture whose
latents and scales keep away from rounding edges, so that every machine must write the same bytes.
"""

import argparse
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
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
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
