"""Take the hyper-latent's probability tables from the official PyTorch code, exactly as it computes them.

Run where PyTorch and a DCVC checkout with its built entropy extension are:
    python official_tables.py --dcvc DCVC-family/DCVC-RT --image IMAGE.pth.tar --video VIDEO.pth.tar OUT.npz

About one row in a hundred of a trained model differs by one count between PyTorch and NumPy, and one row is
enough to lose an official stream. The file goes to tools/convert_checkpoint.py. This script needs nothing of
nvc-jax.
"""

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: TID251


def model_tables(model: Any, checkpoint: Path) -> dict[str, np.ndarray]:
    """The tables of a model with the weights of a checkpoint: cdf [rows, width], length and offset [rows]."""
    common = importlib.import_module("src.utils.common")
    model.load_state_dict(common.get_state_dict(str(checkpoint)))
    model.eval()
    with torch.no_grad():
        model.update()
    cdf, length, offset = model.bit_estimator_z.get_cdf_info()
    return {
        name: np.ascontiguousarray(values, dtype=np.int32)
        for name, values in (("cdf", cdf), ("length", length), ("offset", offset))
    }


def main() -> None:
    """Load both models on the CPU in float32 and write their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dcvc", type=Path, required=True, help="the DCVC-RT folder, which holds src/")
    parser.add_argument("--image", type=Path, required=True, help="checkpoint of the image model")
    parser.add_argument("--video", type=Path, required=True, help="checkpoint of the video model")
    parser.add_argument("output", type=Path, help="the npz file to write")
    arguments = parser.parse_args()
    if not (arguments.dcvc / "src" / "models").is_dir():
        parser.error(f"{arguments.dcvc}: no src/models in it; name the DCVC-RT folder of a DCVC checkout")
    sys.path.insert(0, str(arguments.dcvc))
    models = {
        "image": (importlib.import_module("src.models.image_model").DMCI, arguments.image),
        "video": (importlib.import_module("src.models.video_model").DMC, arguments.video),
    }
    arrays = {
        f"{name}_{part}": values
        for name, (make, checkpoint) in models.items()
        for part, values in model_tables(make(), checkpoint).items()
    }
    np.savez_compressed(arguments.output, **arrays)
    rows = {name: arrays[f"{name}_cdf"].shape[0] for name in models}
    print(f"{arguments.output}: {rows['image']} image rows, {rows['video']} video rows")


if __name__ == "__main__":
    main()
