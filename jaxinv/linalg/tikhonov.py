"""`tikhonov_solve` and `tikhonov_pinv`."""

import jax
from jax import numpy as jnp
from jax.typing import ArrayLike

from jaxinv._ops import tikhonov as op
from jaxinv._ops.floating_point import compute_dtype
from jaxinv.linalg.check import batch, broadcast, common_dtype, matrices, observations, per_matrix, real


@jax.jit
def tikhonov_solve(a: ArrayLike, b: ArrayLike, lam: ArrayLike, penalty: ArrayLike | None = None) -> jax.Array:
    """Solution of regularised least squares, argmin ‖a x − b‖² + lam ‖penalty x‖², for each of a batch.

    By QR (LAPACK's geqrf) of [a; √lam · penalty], or of [aᴴ; √lam] where the penalty is the identity and
    a is wide; no normal equations are formed.

    Args:
      a: array (..., m, n), dtypes as for `pinv`.
      b: array (m,), or (..., m, k).
      lam: real (...), 0 or more.
      penalty: array (..., p, n); None stands for the identity.

    Batch dimensions broadcast. b is a vector only if it has one dimension. An integer beside a float takes
    the type of the float.

    Returns:
      Array (n,) or (..., n, k), or (..., n) for a vector b, of the common dtype of `a`, `b` and `penalty`
      and at least the precision of lam. At lam = 0 the least-squares solution, of minimum norm if a is
      wide and penalty None. NaN where lam is negative, where a, lam or penalty holds a NaN or Inf, and
      where R has a zero on its diagonal: the matrix aᴴa + lam · penaltyᴴ penalty (a aᴴ + lam in the wide
      case) is singular. Singular only up to rounding is not detected.

    Raises:
      ValueError: shapes do not match.
      TypeError: an argument is no array or of an unsupported dtype, or lam is complex.

    Differentiable in all four arguments in forward and reverse mode to any order, smoothly in lam at 0:
    with M = aᴴa + lam DᴴD, M dx = aᴴ(db − da x) + daᴴ(b − a x) − dlam DᴴD x − lam (dDᴴ D + Dᴴ dD) x.
    (Björck, Numerical Methods for Least Squares Problems, 1996, 2.7 and 5.3.)
    """
    given = a, b
    a = matrices("tikhonov_solve", a)
    b = observations("tikhonov_solve", a, b)
    vector = b.ndim == 1
    a, lam, penalty, dtype = _prepare("tikhonov_solve", a, lam, penalty, *given)
    b = b.astype(a.dtype)
    batch("tikhonov_solve", a.shape[:-2], b.shape[:-2])
    x = op.tikhonov_solve(a, b[:, None] if vector else b, lam, penalty)
    return (x[..., 0] if vector else x).astype(dtype)


@jax.jit
def tikhonov_pinv(a: ArrayLike, lam: ArrayLike, penalty: ArrayLike | None = None) -> jax.Array:
    """Regularised pseudo-inverse of each matrix: b ↦ tikhonov_solve(a, b, lam, penalty) as a matrix.

    The first m columns of pinv([[a], [√lam · penalty]]), that is (aᴴa + lam · penaltyᴴ penalty)⁻¹ aᴴ, by QR
    (LAPACK's geqrf) and without the other columns (Björck, Numerical Methods for Least Squares Problems,
    1996, 2.7 and 5.3).

    Args:
      a, lam, penalty: as for `tikhonov_solve`.

    Returns:
      Array (..., n, m); dtype and NaN as for `tikhonov_solve`.

    Raises:
      ValueError, TypeError: as `tikhonov_solve`.

    Differentiable in all arguments in forward and reverse mode to any order, smoothly in lam at 0.
    """
    given = a
    a = matrices("tikhonov_pinv", a)
    a, lam, penalty, dtype = _prepare("tikhonov_pinv", a, lam, penalty, given)
    return op.tikhonov_pinv(a, lam, penalty).astype(dtype)


def _prepare(name: str, a: jax.Array, lam: ArrayLike, penalty: ArrayLike | None, *given: ArrayLike):
    """The operation's arguments, broadcast, in the dtype that computes; the dtype of the result.

    `given`: the other arguments, `a` among them, as they were given.
    """
    shapes = [a.shape[:-2]]
    if penalty is not None:
        given = (*given, penalty)
        penalty = matrices(name, penalty, "penalty", "p", a.shape[-1])
        shapes.append(penalty.shape[:-2])
    lam = real(name, "lam", lam)
    shape = batch(name, *shapes, lam.shape)
    dtype = common_dtype(*given)
    # lam is real whatever a is: it decides the precision, not whether the result is complex.
    kind = jnp.result_type(jnp.zeros((), jnp.finfo(dtype).dtype), lam)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        dtype = jnp.dtype(jnp.complex128 if kind == jnp.float64 else jnp.complex64)
    else:
        dtype = kind
    wide = compute_dtype(dtype)
    a = broadcast(a.astype(wide), shape)
    # What is broadcast to the batch of a is to be sharded like it (explicit axes); XLA drops the zero.
    zero = jnp.sum(jnp.zeros_like(a), axis=(-2, -1), keepdims=True)
    if penalty is not None:
        penalty = broadcast(penalty.astype(wide), shape) + zero
    return a, per_matrix(lam, shape, jnp.finfo(wide).dtype) + zero.real, penalty, dtype
