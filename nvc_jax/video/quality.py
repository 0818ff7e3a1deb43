"""Objective quality of 8-bit planes."""

import numpy as np

from nvc_jax.video.frame import U8, YuvFrame

MAX_PSNR = 99.9  # of identical planes, as in the official evaluation


def plane_psnr(decoded: U8, original: U8) -> float:
    """Compute the PSNR in dB of two planes of the same shape, capped at 99.9."""
    difference = (decoded.astype(np.int16) - original.astype(np.int16)).astype(np.float32).ravel()
    mse = float(np.dot(difference, difference)) / difference.size
    return MAX_PSNR if mse == 0 else min(MAX_PSNR, float(10.0 * np.log10(255.0**2 / mse)))


def frame_psnr(decoded: YuvFrame, original: YuvFrame) -> dict[str, float]:
    """Compute PSNRs in dB: `psnr_y`, `psnr_u`, `psnr_v`, and `psnr`, their mean weighted 6:1:1 (spec 10)."""
    y, u, v = (plane_psnr(getattr(decoded, p), getattr(original, p)) for p in "yuv")
    return {"psnr_y": y, "psnr_u": u, "psnr_v": v, "psnr": (6 * y + u + v) / 8}
