"""`det` and `slogdet`."""

import functools
from typing import NamedTuple

import jax
from jax import numpy as jnp
from jax.typing import ArrayLike

from jaxinv._ops.determinant import det as _det
from jaxinv._ops.determinant import mantissa_and_exponent, sign_and_logarithm
from jaxinv._ops.floating_point import compute_dtype
from jaxinv.linalg.check import square_matrices, structure


class SlogdetResult(NamedTuple):
    """Result of `slogdet`."""

    sign: jax.Array
    logabsdet: jax.Array


@functools.partial(jax.jit, static_argnames=("assume_a", "lower"))
def det(a: ArrayLike, *, assume_a: str = "general", lower: bool = False) -> jax.Array:
    """Determinant of each matrix of a batch.

    Product of the pivots of LU with partial pivoting (LAPACK's getrf), kept as mantissa and power of two.

    Args:
      a: array (..., n, n), as for `inv`.
      assume_a: as for `inv`.
      lower: as for `inv`.

    Returns:
      Array (...) of the dtype of `a`. No intermediate product over- or underflows: the result is inf or 0
      only where the determinant is outside the range of the dtype. A zero pivot gives 0, a NaN or Inf
      entry NaN, and so does a negative pivot for "pos"; the determinant of an empty matrix is 1.

    Raises:
      ValueError, TypeError: as `inv`.

    Differentiable in `a` in forward and reverse mode, with finite and correct first and second derivatives
    at every rank: d det = tr(adj(a) da), the adjugate from a singular value decomposition (Stewart, Linear
    Algebra Appl. 283, 1998, 151-164), which is computed only when a derivative is. Third and higher
    derivatives exist where the singular values are distinct and not 0. Where no matrix is singular,
    `inv_det` costs less to differentiate. Of triangular and diagonal matrices the derivative is that of the
    product of the diagonal, of any order. Taylor mode (`jax.experimental.jet`) goes through the inverse.
    """
    a, assumed = square_matrices("det", a), structure("det", assume_a, lower)
    return _det(a.astype(compute_dtype(a.dtype)), assumed).astype(a.dtype)


@functools.partial(jax.jit, static_argnames=("method", "assume_a", "lower"))
def slogdet(
    a: ArrayLike, *, method: str | None = None, assume_a: str = "general", lower: bool = False
) -> SlogdetResult:
    """Sign and logarithm of the absolute value of the determinant of each matrix of a batch.

    Of the product of the pivots of LU with partial pivoting (LAPACK's getrf).

    Args:
      a: array (..., n, n), as for `inv`.
      method: "lu" or None: LU with partial pivoting; "qr": that of
        `jax.numpy.linalg.slogdet`, which this hands `a` to, real and general.
      assume_a: as for `inv`.
      lower: as for `inv`.

    Returns:
      `SlogdetResult(sign, logabsdet)`: `sign` (...) of the dtype of `a` (of modulus 1 for complex),
      `logabsdet` (...) of its real dtype. A zero pivot gives (0, −inf), a NaN or Inf entry (NaN, NaN), an
      empty matrix (1, 0).

    Raises:
      ValueError: as `inv`, or `method` is unknown, or "qr" with another `assume_a` than "general".
      TypeError: as `inv`.
      NotImplementedError: `method` is "qr" and `a` complex.

    Differentiable in `a` to any order where `a` is not singular (inf or NaN where it is):
    d logabsdet = Re tr(a⁻¹ da), by one elimination that gives value and inverse.
    """
    a, assumed = square_matrices("slogdet", a), structure("slogdet", assume_a, lower)
    if method not in (None, "lu", "qr"):
        raise ValueError(f"jaxinv.slogdet: method must be one of None, 'lu', 'qr', got {method!r}")
    if method == "qr" and assumed != "general":
        raise ValueError(
            f"jaxinv.slogdet: method='qr' takes assume_a='general' only, got assume_a={assume_a!r}"
        )
    if method == "qr" and jnp.issubdtype(a.dtype, jnp.complexfloating):
        raise NotImplementedError(
            f"jaxinv.slogdet: method='qr' takes real matrices only, got dtype {a.dtype.name}"
        )
    wide = a.astype(compute_dtype(a.dtype))
    if method == "qr":
        sign, logabsdet = jnp.linalg.slogdet(wide, method="qr")
    else:
        sign, logabsdet = sign_and_logarithm(*mantissa_and_exponent(wide, assumed))
    return SlogdetResult(sign.astype(a.dtype), logabsdet.astype(jnp.finfo(a.dtype).dtype))
