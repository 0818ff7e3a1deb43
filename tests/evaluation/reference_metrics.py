"""PSNR and MS-SSIM in float64 with NumPy and SciPy, written from the definition (spec 10) and slow."""

import numpy as np
from scipy import ndimage


def psnr(decoded: np.ndarray, source: np.ndarray) -> float:
    """dB of planes in 0..255."""
    error = np.mean((decoded.astype(np.float64) - source.astype(np.float64)) ** 2)
    return 99.9 if error == 0 else min(99.9, 20 * np.log10(255) - 10 * np.log10(error))


def msssim(decoded: np.ndarray, source: np.ndarray) -> float:
    """Compute one plane."""
    a, b = decoded.astype(np.float64), source.astype(np.float64)
    exponents = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333] if min(a.shape) >= 176 else [0.0517, 0.3295, 0.3462, 0.2726]
    result = 1.0
    for scale, exponent in enumerate(exponents):
        if scale:
            a, b = (ndimage.uniform_filter(x, 2, mode="reflect", origin=-1)[::2, ::2] for x in (a, b))
        mean_a, mean_b = window(a), window(b)
        variance_a, variance_b = window(a * a) - mean_a**2, window(b * b) - mean_b**2
        covariance = window(a * b) - mean_a * mean_b
        c1, c2 = 2.55**2, 7.65**2
        term = (2 * covariance + c2) / (variance_a + variance_b + c2)
        if scale == len(exponents) - 1:
            term = term * (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        result *= np.mean(term) ** exponent
    return result


def window(x: np.ndarray) -> np.ndarray:
    """11x11 Gaussian of standard deviation 1.5 where it lies inside."""
    return ndimage.gaussian_filter(x, 1.5, mode="constant", radius=5)[5:-5, 5:-5]
