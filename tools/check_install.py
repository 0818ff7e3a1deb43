"""Check an installation: code a moving picture with the embedded model, and decode it.

python tools/check_install.py
"""

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
    if decoded.shape != frames.shape:
        print(f"check_install.py: the decoded pictures are {decoded.shape}, not {frames.shape}.")
        return 1
    error = float(np.mean((decoded.astype(float) - frames) ** 2))
    psnr = 10 * np.log10(255**2 / error)
    print(f"{FRAMES} frames, {len(data)} bytes, {psnr:.1f} dB")
    if psnr < 25:
        print("check_install.py: the decoded pictures are not those that were coded.")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
