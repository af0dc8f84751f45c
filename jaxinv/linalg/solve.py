"""`solve` and what it gives without the whole inverse: rows and columns of it."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from jax.typing import ArrayLike

from jaxinv._ops.floating_point import compute_dtype
from jaxinv._ops.solve import FUSED_MAX as FUSED_MAX
from jaxinv._ops.solve import solve_systems
from jaxinv.linalg.check import common_dtype, indices, right_hand_side, square_matrices, structure


class SolveResult(NamedTuple):
    """Result of `solve_ex`."""

    x: jax.Array
    info: jax.Array


@functools.partial(jax.jit, static_argnames=("assume_a", "lower"))
def solve(a: ArrayLike, b: ArrayLike, *, assume_a: str = "general", lower: bool = False) -> jax.Array:
    """Solution x of a x = b for each matrix of a batch.

    LU with partial pivoting and substitution (Golub & Van Loan, Matrix Computations, 3.4; LAPACK's gesv).

    Args:
      a: array (..., n, n), any number of batch dimensions, n >= 0; dtypes as for `inv`.
      b: one vector (n,) for all matrices, or matrices (..., n, k) whose batch dimensions broadcast with
        those of `a`. As in NumPy 2, only an array of one dimension is a vector. Where `a` has no batch
        dimension, or one of size 1, that `b` has, its matrix is factored once.
      assume_a: as for `inv`. Triangular systems are solved by substitution, "pos" by L D Lᴴ.
      lower: as for `inv`.

    Returns:
      Array (..., n) for a vector `b`, else (..., n, k), of the dtype that `a` and `b` promote to; an
      integer beside a float takes the type of the float. A singular matrix, or one with a NaN or Inf, gives
      all NaN; its neighbours keep their bits.

    Raises:
      ValueError: `a` holds no square matrices, `b` does not fit them, or `assume_a` is unknown.
      TypeError: `a` or `b` is not an array or of an unsupported dtype.

    Differentiable in `a` and `b` in forward and reverse mode to any order: dx = a⁻¹(db − da x), by the
    factors of `a` where n > 16; by solving again where not, which costs less than to store factors.
    """
    return _solve("solve", a, b, assume_a, lower, with_info=False)[0]


@functools.partial(jax.jit, static_argnames=("assume_a", "lower"))
def solve_ex(a: ArrayLike, b: ArrayLike, *, assume_a: str = "general", lower: bool = False) -> SolveResult:
    """Solution x of a x = b for each matrix of a batch, and where its elimination failed.

    Args:
      a: array (..., n, n), as for `solve`.
      b: array (n,) or (..., n, k), as for `solve`.
      assume_a: as for `solve`.
      lower: as for `solve`.

    Returns:
      `SolveResult(x, info)`: `x` as `solve` returns it, bit for bit; `info` int32 of the batch shape of `x`,
      0 where it succeeded, else the first (1-based) step of LU with partial pivoting whose pivot is zero or
      not finite (the info of LAPACK's gesv); for other structures as `inv_ex`. A matrix singular only up to
      rounding is not detected.

    Raises:
      ValueError, TypeError: as `solve`.

    `x` is differentiable in `a` and `b` to any order; `info` is an integer and has no derivative.
    """
    return SolveResult(*_solve("solve_ex", a, b, assume_a, lower, with_info=True))


def _solve(name, a, b, assume_a, lower, with_info):
    given = a, b
    a, assumed = square_matrices(name, a), structure(name, assume_a, lower)
    b = right_hand_side(name, a, b)
    dtype = common_dtype(*given)
    a, b = (x.astype(compute_dtype(dtype)) for x in (a, b))
    vector = b.ndim == 1
    x, *info = solve_systems(a, b[:, None] if vector else b, structure=assumed, with_info=with_info)
    return [(x[..., 0] if vector else x).astype(dtype), *info]


def inv_rows(
    a: ArrayLike,
    rows: int | slice | Sequence[int] | np.ndarray,
    *,
    assume_a: str = "general",
    lower: bool = False,
) -> jax.Array:
    """Rows of the inverse of each matrix of a batch; an int k as `rows` means the first k rows.

    LU with partial pivoting, then solutions with the transposed matrix and unit vectors (LAPACK's getrf and
    getrs): nothing of size n × n is computed beside the factors. 60 rows of 512 cost about half of the
    inverse.

    Args:
      a: array (..., n, n), as for `inv`.
      rows: which rows, known when tracing: an int k, a slice, or a 1-D sequence of integers (negative ones
        count from the end; they may repeat).
      assume_a: as for `inv`.
      lower: as for `inv`.

    Returns:
      Array (..., number of rows, n) of the dtype of `a`. A singular matrix, or one with a NaN or Inf, gives
      all NaN; its neighbours in the batch keep their bits.

    Raises:
      IndexError: a row is out of range.
      ValueError: as `inv`, or a slice has a step of 0.
      TypeError: as `inv`, or `rows` is none of the above.

    Differentiable in `a` to any order, as `solve`.
    """
    a = square_matrices("inv_rows", a)
    return _inv_rows(
        a, indices("inv_rows", "rows", rows, a.shape[-1]), structure("inv_rows", assume_a, lower)
    )


def inv_cols(
    a: ArrayLike,
    cols: int | slice | Sequence[int] | np.ndarray,
    *,
    assume_a: str = "general",
    lower: bool = False,
) -> jax.Array:
    """Columns of the inverse of each matrix of a batch; an int k as `cols` means the first k columns.

    LU with partial pivoting, then solutions with unit vectors (LAPACK's getrf and getrs).

    Args:
      a: array (..., n, n), as for `inv`.
      cols: which columns, as `rows` of `inv_rows`.
      assume_a: as for `inv`.
      lower: as for `inv`.

    Returns:
      Array (..., n, number of columns), as `inv_rows` else.

    Raises:
      IndexError, ValueError, TypeError: as `inv_rows`.

    Differentiable in `a` to any order, as `solve`.
    """
    a = square_matrices("inv_cols", a)
    return _inv_cols(
        a, indices("inv_cols", "cols", cols, a.shape[-1]), structure("inv_cols", assume_a, lower)
    )


@functools.partial(jax.jit, static_argnums=(1, 2))
def _inv_rows(a, rows, assumed):
    return jnp.matrix_transpose(_solve_units(a, rows, assumed, transpose=True))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _inv_cols(a, cols, assumed):
    return _solve_units(a, cols, assumed, transpose=False)


def _solve_units(a, which, assumed, transpose):
    """Solutions for the unit vectors `which` as right-hand sides."""
    n, dtype = a.shape[-1], compute_dtype(a.dtype)
    units = (jnp.arange(n)[:, None] == jnp.array(which, int)[None, :]).astype(dtype)
    (x,) = solve_systems(a.astype(dtype), units, structure=assumed, transpose=transpose)
    return x.astype(a.dtype)
