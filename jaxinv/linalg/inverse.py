"""`inv` and its variants with `info` and determinant."""

import functools
from typing import NamedTuple

import jax
from jax import numpy as jnp
from jax.typing import ArrayLike

from jaxinv._ops.determinant import sign_and_logarithm
from jaxinv._ops.floating_point import ldexp
from jaxinv._ops.inverse import invert
from jaxinv.linalg.check import square_matrices, structure


class InvResult(NamedTuple):
    """Result of `inv_ex`."""

    inverse: jax.Array
    info: jax.Array


class InvSlogdetResult(NamedTuple):
    """Result of `inv_slogdet`."""

    inverse: jax.Array
    sign: jax.Array
    logabsdet: jax.Array


class InvDetResult(NamedTuple):
    """Result of `inv_det`."""

    inverse: jax.Array
    det: jax.Array


@functools.partial(jax.jit, static_argnames=("assume_a", "lower"))
def inv(a: ArrayLike, *, assume_a: str = "general", lower: bool = False) -> jax.Array:
    """Inverse of each matrix of a batch.

    Gauss-Jordan elimination with partial pivoting (Golub & Van Loan, Matrix Computations, 3.4; the
    result of LAPACK's getrf + getri).

    Args:
      a: array (..., n, n), any number of batch dimensions, n >= 0. float16, bfloat16 (computed in
        float32, rounded once), float32, float64, complex64, complex128; integers and booleans promote
        to the default float.
      assume_a: what `a` is taken for, as in `scipy.linalg.inv`; nothing is detected. "general"; "pos":
        symmetric or Hermitian positive definite, one triangle of it is read (by L D Lᴴ, half the arithmetic);
        "upper triangular", "lower triangular", "diagonal": those entries alone are read. Others may hold
        anything, NaN included.
      lower: for "pos", whether the lower triangle is read; no effect on the others.

    Returns:
      Array (..., n, n) of the dtype of `a`. A singular matrix, or one with a NaN or Inf, gives all NaN;
      its neighbours in the batch keep their bits. `inv_ex` says where the elimination failed. Exactly
      symmetric or Hermitian for "pos", exactly 0 outside the triangle or the diagonal.

    Raises:
      ValueError: the last two dimensions are missing or differ, or `assume_a` is unknown.
      TypeError: `a` is not an array or of an unsupported dtype.

    Differentiable in `a` in forward and reverse mode to any order: dX = −X dA X, where A is made of the
    entries that are read: gradients are 0 for the others and, for "pos", doubled off the diagonal.
    """
    a, assumed = square_matrices("inv", a), structure("inv", assume_a, lower)
    (x,) = invert(a, structure=assumed)
    return x


@functools.partial(jax.jit, static_argnames=("assume_a", "lower"))
def inv_ex(a: ArrayLike, *, assume_a: str = "general", lower: bool = False) -> InvResult:
    """Inverse of each matrix of a batch, and where its elimination failed.

    Args:
      a: array (..., n, n), as for `inv`.
      assume_a: as for `inv`.
      lower: as for `inv`.

    Returns:
      `InvResult(inverse, info)`: `inverse` as `inv` returns it, bit for bit; `info` int32 (...), 0 where
      it succeeded, else the first (1-based) step of LU with partial pivoting whose pivot is zero or not
      finite (the info of LAPACK's getrf). A matrix singular only up to rounding is not detected. "pos": the
      order of the first leading minor that is not positive (potrf). Triangular and diagonal: the first column
      with a zero on the diagonal or an entry that is read and not finite.

    Raises:
      ValueError, TypeError: as `inv`.

    `inverse` is differentiable in `a` to any order; `info` is an integer and has no derivative.
    """
    a, assumed = square_matrices("inv_ex", a), structure("inv_ex", assume_a, lower)
    return InvResult(*invert(a, structure=assumed, with_info=True))


@functools.partial(jax.jit, static_argnames=("assume_a", "lower"))
def inv_slogdet(a: ArrayLike, *, assume_a: str = "general", lower: bool = False) -> InvSlogdetResult:
    """Inverse, sign and logarithm of the determinant from one factorisation.

    The elimination of `inv`; the determinant is the product of its pivots (those of LAPACK's getrf).

    Args:
      a: array (..., n, n), as for `inv`.
      assume_a: as for `inv`.
      lower: as for `inv`.

    Returns:
      `InvSlogdetResult(inverse, sign, logabsdet)`: `inverse` (..., n, n) as `inv` returns it; `sign` (...)
      of the dtype of `a` (of modulus 1 for complex), `logabsdet` (...) its real dtype, as
      `jax.numpy.linalg.slogdet`. A zero pivot gives (NaN, 0, −inf), a NaN or Inf entry all NaN, and so
      does a negative pivot for "pos".

    Raises:
      ValueError, TypeError: as `inv`.

    Differentiable in `a` to any order where `a` is not singular: d logabsdet = Re tr(X dA).
    """
    a, assumed = square_matrices("inv_slogdet", a), structure("inv_slogdet", assume_a, lower)
    x, mantissa, exponent = invert(a, structure=assumed, with_det=True)
    sign, logabsdet = sign_and_logarithm(mantissa, exponent)
    return InvSlogdetResult(x, sign.astype(a.dtype), logabsdet.astype(jnp.finfo(a.dtype).dtype))


@functools.partial(jax.jit, static_argnames=("assume_a", "lower"))
def inv_det(a: ArrayLike, *, assume_a: str = "general", lower: bool = False) -> InvDetResult:
    """Inverse and determinant from one factorisation.

    The elimination of `inv`; the determinant is the product of its pivots (those of LAPACK's getrf), kept as
    mantissa and power of two.

    Args:
      a: array (..., n, n), as for `inv`.
      assume_a: as for `inv`.
      lower: as for `inv`.

    Returns:
      `InvDetResult(inverse, det)`: `inverse` (..., n, n) as `inv` returns it, `det` (...) of the dtype of
      `a`. No intermediate product over- or underflows: `det` is inf or 0 only where the determinant is
      outside the range of the dtype. A zero pivot gives det 0 and an inverse of NaN, a NaN or Inf entry all
      NaN, and so does a negative pivot for "pos".

    Raises:
      ValueError, TypeError: as `inv`.

    Differentiable in `a` to any order where `a` is not singular: d det = det · tr(X dA).
    """
    a, assumed = square_matrices("inv_det", a), structure("inv_det", assume_a, lower)
    x, mantissa, exponent = invert(a, structure=assumed, with_det=True)
    return InvDetResult(x, ldexp(mantissa, exponent).astype(a.dtype))
