"""Residuals and forward errors of inverses, in NumPy and in higher precision than the inverse had.

The gate is LAPACK's dget03 in 1-norms: ‖I − X A‖ ≤ 30 n ε ‖A‖ ‖X‖ from the left or from the right.
"""

import numpy as np
from jax import numpy as jnp

GATE = 30.0
FORWARD_GATE = 10.0


def unit_roundoff(dtype) -> float:
    """ε of numerical analysis, half the spacing at 1."""
    return float(jnp.finfo(dtype).eps) / 2


def widen(a: np.ndarray) -> np.ndarray:
    """`a` in a type of higher precision; from 64 bits on, the longest that the machine has."""
    if np.iscomplexobj(a):
        return a.astype(np.complex128 if a.dtype == np.complex64 else np.clongdouble)
    return a.astype(np.float64 if a.dtype.itemsize <= 4 else np.longdouble)


def norm(a: np.ndarray) -> np.ndarray:
    """1-norm of each matrix, in float64 or longer."""
    return np.max(np.sum(np.abs(a), axis=-2), axis=-1)


def residuals(a: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left and right residual of each x as inverse of a, in units of n ε ‖a‖ ‖x‖."""
    n = a.shape[-1]
    epsilon = unit_roundoff(a.dtype)
    a, x = widen(a), widen(x)
    scale = n * epsilon * norm(a) * norm(x)
    identity = np.eye(n)
    with np.errstate(invalid="ignore"):  # where x is not finite the residual is NaN
        return norm(identity - x @ a) / scale, norm(identity - a @ x) / scale


def backward_error(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """‖b − a x‖ in units of n ε (‖a‖ ‖x‖ + ‖b‖), of the worst right-hand side of each matrix."""
    epsilon = unit_roundoff(a.dtype)
    a, b, x = widen(a), widen(b), widen(x)
    with np.errstate(invalid="ignore"):
        rest, size_b, size_x = (np.sum(np.abs(v), axis=-2) for v in (b - a @ x, b, x))
        unit = a.shape[-1] * epsilon * (norm(a)[..., None] * size_x + size_b)
        return np.max(rest / np.where(unit == 0, 1, unit), axis=-1)


def reference_inverse(a: np.ndarray) -> np.ndarray:
    """Inverse of each matrix in higher precision."""
    wide = widen(a)
    if a.dtype not in (np.float64, np.complex128):
        return np.linalg.inv(wide)
    # LAPACK ends at float64: each Newton-Schulz step squares the residual, in longer products.
    x = np.linalg.inv(a).astype(wide.dtype)
    for _ in range(2):
        x = x + x @ (np.eye(a.shape[-1]) - wide @ x)
    return x


def forward_error(a: np.ndarray, x: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Error of each x against the reference inverse, as a fraction of its gate, and the condition number.

    The gate is ‖x − a⁻¹‖ ≤ 10 n ε κ ‖a⁻¹‖; half types are computed in float32 and rounded once, so there
    it is one unit in the last place and 10 n ε₃₂ κ, of the largest element.
    """
    n = a.shape[-1]
    condition = norm(widen(a)) * norm(reference)
    error = np.abs(widen(x) - reference)
    if jnp.dtype(a.dtype).itemsize == 2:
        gate = float(jnp.finfo(a.dtype).eps) + FORWARD_GATE * n * unit_roundoff(np.float32) * condition
        return error.max((-2, -1)) / (gate * np.abs(reference).max((-2, -1))), condition
    gate = FORWARD_GATE * n * unit_roundoff(a.dtype) * condition
    return norm(error) / (gate * norm(reference)), condition
