"""Matrices on which an inverse is judged, in float64 or complex128, by name of their kind."""

from collections.abc import Iterator

import numpy as np

from jaxinv._cli.cameras import CAMERAS


def _gaussian(rng, count, n, is_complex):
    a = rng.normal(size=(count, n, n))
    return a + 1j * rng.normal(size=(count, n, n)) if is_complex else a


def orthogonal(rng: np.random.Generator, count: int, n: int, is_complex: bool) -> np.ndarray:
    """Orthogonal or unitary matrices (count, n, n)."""
    return np.linalg.qr(_gaussian(rng, count, n, is_complex))[0]


def of_condition(left: np.ndarray, right: np.ndarray, condition: float) -> np.ndarray:
    """U Σ Vᴴ with singular values evenly spaced in logarithm, from 1 down to 1/condition."""
    return (left * np.logspace(0, -np.log10(condition), left.shape[-1])) @ right


def _affine(rng, count, rigid):
    a = np.tile(np.eye(4), (count, 1, 1))
    a[:, :3, :3] = orthogonal(rng, count, 3, False) if rigid else rng.normal(size=(count, 3, 3))
    a[:, :3, 3] = rng.normal(scale=10, size=(count, 3))
    return a


def generate(
    rng: np.random.Generator, n: int, is_complex: bool, worst_condition: float, scale: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (kind, matrices (count, n, n)) for n ≥ 1, count smaller for larger n.

    `worst_condition` is the largest condition number prescribed, 2**±scale the factors of the scaled kinds.
    """
    count = 8 if n <= 16 else 2 if n <= 40 else 1
    gaussian = _gaussian(rng, count, n, is_complex)
    left, right = (orthogonal(rng, count, n, is_complex) for _ in range(2))
    yield "Gaussian", gaussian
    yield "orthogonal", left
    for condition in (10.0, np.sqrt(worst_condition), worst_condition):
        yield f"condition {condition:.0e}", of_condition(left, right, condition)
    yield "positive definite", gaussian @ gaussian.conj().swapaxes(-1, -2) / n + np.eye(n)
    yield "permutation", np.stack([np.eye(n)[rng.permutation(n)] for _ in range(count)])
    grades = np.logspace(0, -2, n)
    yield "graded rows", gaussian * grades[:, None]
    yield "graded columns", gaussian * grades
    yield "triangular", np.triu(gaussian, 1) / n + np.eye(n)
    yield f"scaled 2^{scale}", gaussian * 2.0**scale
    yield f"scaled 2^-{scale}", gaussian * 2.0**-scale
    if n == 3:
        yield "camera intrinsics", np.stack([camera.matrix() for camera in CAMERAS])
    if n == 4:
        yield "affine", _affine(rng, count, rigid=False)
        yield "rigid", _affine(rng, count, rigid=True)
    if n <= 6:
        yield "Hilbert", 1 / (np.arange(n)[:, None] + np.arange(n) + 1.0)[None]


def singular(n: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (kind, matrix (n, n)) for which the inverse is all NaN."""
    a = np.eye(n)
    a[:, n // 2] = 0
    yield "zero column", a
    yield "NaN", np.where(a == 0, np.nan, a)
    yield "Inf", np.eye(n) + np.full((n, n), np.inf)
