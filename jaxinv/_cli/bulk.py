"""The bulk job: many perturbed intrinsic matrices at once, timed and checked by their residuals."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import numpy as np

from jaxinv._cli.cameras import CAMERAS
from jaxinv._cli.residual import residuals

REPEATS = 7
_CHUNK = 1 << 17


def perturbed_intrinsics(count: int, seed: int) -> np.ndarray:
    """Intrinsic matrices (count, 3, 3) float32: published ones, each parameter up to 20 % off."""
    rng = np.random.default_rng(seed)
    k = np.array([camera.matrix() for camera in CAMERAS], np.float32)[rng.integers(len(CAMERAS), size=count)]
    for row, column in ((0, 0), (1, 1), (0, 2), (1, 2)):
        k[:, row, column] *= rng.uniform(0.8, 1.2, size=count)
    return k


def median_seconds(
    functions: Mapping[str, Callable], a: jax.Array, track: Callable[[Sequence, str], Iterable]
) -> dict[str, float]:
    """Median time of each function of `a`, in turns so that a busy moment meets all, compiled before."""
    for function in functions.values():
        jax.block_until_ready(function(a))
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in track(range(REPEATS), f"inverting {len(a)} matrices"):
        for name, function in functions.items():
            begin = time.perf_counter()
            jax.block_until_ready(function(a))
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def worst_residuals(a: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    """Largest min(L, R) and largest max(L, R) over all matrices; NaN where an x is not finite."""
    worst = []
    for begin in range(0, len(a), _CHUNK):
        left, right = residuals(a[begin : begin + _CHUNK], x[begin : begin + _CHUNK])
        worst.append((np.max(np.minimum(left, right)), np.max(np.maximum(left, right))))
    least, most = np.max(worst, axis=0)
    return float(least), float(most)
