"""The gate that solutions of systems must pass."""

import matrices
import ml_dtypes
import numpy as np


def assert_solution(a: np.ndarray, b: np.ndarray, x: np.ndarray, names=None, flushed: bool = False) -> None:
    """Every column of x (k, n, m) solves a x = b: |b - a x| <= 30 n eps (|a| |x| + |b|), 1-norms.

    Half types, rounded once at the end, are compared with the solution in float64 instead.
    """
    dtype, n = x.dtype, a.shape[-1]
    assert x.shape == b.shape
    if x.size == 0:
        return
    tiny = float(ml_dtypes.finfo(matrices.compute_dtype(dtype)).tiny) if flushed else 0.0
    if matrices.is_half(dtype):
        a, b, x = (v.astype(np.float64) for v in (a, b, x))
        expected = np.linalg.solve(a, b)
        gate = matrices.ulp(dtype) + 10 * n * matrices.eps(dtype) * matrices.condition(a)[:, None]
        size = np.abs(expected).max(-2) + float(ml_dtypes.finfo(dtype).tiny)
        fits = size < float(ml_dtypes.finfo(dtype).max)
        x, expected = (np.where(fits[:, None], v, 0) for v in (x, expected))
        wrong = np.abs(x - expected).max(-2) > gate * size + n * tiny
    else:
        longest = np.clongdouble if matrices.is_complex(dtype) else np.longdouble
        a, b, x = (v.astype(longest) for v in (a, b, x))
        length = [np.abs(v).sum(-2) for v in (b - a @ x, x, b)]
        size = matrices.norm1(a)[:, None]
        wrong = ~(
            length[0]
            <= 30 * n * matrices.eps(dtype) * (size * length[1] + length[2]) + n * n * tiny * (1 + size)
        )
    where = np.argwhere(wrong)
    assert not len(where), (
        f"{len(where)} wrong, first {where[0]} {names and names[where[0][0]]}, n = {n}, {dtype}"
    )
