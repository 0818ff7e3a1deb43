"""Export the hyper-latent's probability tables exactly as the official PyTorch code computes them.

Run where PyTorch and a DCVC checkout with its built entropy extension are:
    python official_tables.py --dcvc DCVC-family/DCVC-RT --image IMAGE.pth.tar --video VIDEO.pth.tar OUT.npz

About one row in a hundred of a trained model differs by one count between PyTorch and NumPy, and one row loses
an official stream. tools/convert_checkpoint.py takes the file. This script needs nothing of nvc-jax.
"""

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np


def model_tables(model: Any, checkpoint: Path) -> dict[str, np.ndarray]:
    """Compute the tables of a model from a checkpoint: cdf [rows, width], length and offset [rows]."""
    common = importlib.import_module("src.utils.common")
    model.load_state_dict(common.get_state_dict(str(checkpoint)))
    model.eval()
    model.update()
    arrays = zip(("cdf", "length", "offset"), model.bit_estimator_z.get_cdf_info(), strict=True)
    return {name: np.ascontiguousarray(values, dtype=np.int32) for name, values in arrays}


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
    try:
        import torch  # noqa: TID251
    except ImportError:
        parser.exit(1, "official_tables.py: this interpreter has no PyTorch; use one that has it.\n")
    torch.set_grad_enabled(False)
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
