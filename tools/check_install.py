"""Check an installation: code a moving picture with the packaged model and decode it to the same bits.

python tools/check_install.py
"""

import tempfile
from pathlib import Path

import numpy as np

import nvc_jax

SIZE, FRAMES = (64, 96), 3


def moving_picture():
    """Make RGB frames [T, H, W, 3] of a pattern that moves by two pixels a frame."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.stack(
        [
            np.stack([128 + 100 * np.sin((x + 2 * t) / 9), 2 * y + 40, 255 - 2 * x], axis=-1).astype(np.uint8)
            for t in range(FRAMES)
        ]
    )


def main() -> int:
    """Code, decode and compare."""
    frames = moving_picture()
    codec = nvc_jax.load("embedded")
    data = codec.encode(frames, qp=32, fps=30)
    decoded = nvc_jax.decode(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.nvc"
        path.write_bytes(data)
        again = nvc_jax.decode(path.read_bytes())
    error = float(np.mean((decoded.astype(float) - frames) ** 2))
    psnr = 10 * np.log10(255**2 / error)
    print(f"{FRAMES} frames, {len(data)} bytes, {psnr:.1f} dB")
    if decoded.shape != frames.shape or not np.array_equal(decoded, again) or psnr < 25:
        print("check_install.py: the decoded pictures are not those that were coded.")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
