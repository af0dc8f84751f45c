"""`pinv` and `lstsq`."""

import functools
from typing import NamedTuple

import jax
from jax import numpy as jnp
from jax.typing import ArrayLike

from jaxinv._ops import pinv as op
from jaxinv._ops.floating_point import compute_dtype
from jaxinv.linalg.check import batch, broadcast, common_dtype, matrices, observations, per_matrix, real


class LstsqResult(NamedTuple):
    """Result of `lstsq`."""

    x: jax.Array
    residuals: jax.Array
    rank: jax.Array
    s: jax.Array


@functools.partial(jax.jit, static_argnames=("hermitian",))
def pinv(
    a: ArrayLike, rtol: ArrayLike | None = None, hermitian: bool = False, *, rcond: ArrayLike | None = None
) -> jax.Array:
    """Moore-Penrose pseudo-inverse of each matrix of a batch.

    By the singular value decomposition of jax.numpy.linalg (LAPACK's gesdd on the CPU).

    Args:
      a: array (..., m, n), any number of batch dimensions, m, n >= 0. float16, bfloat16 (computed in
        float32, rounded once), float32, float64, complex64, complex128; integers and booleans promote
        to the default float.
      rtol: real (...), broadcast against the batch dimensions, may be traced: singular values up to rtol
        times the largest count as zero. Default max(m, n) · eps of the dtype that computes.
      hermitian: take `a` for (a + aᴴ)/2, a Hermitian matrix, and decompose that by eigenvalues.
      rcond: another name of rtol.

    Returns:
      Array (..., n, m) of the dtype of `a`. A matrix with a NaN or Inf, or a rtol of NaN, gives all NaN; its
      neighbours in the batch keep their bits.

    Raises:
      ValueError: `a` has fewer than two dimensions, or is not square and `hermitian`; rtol does not
        broadcast; rtol and rcond are both given.
      TypeError: an argument is no array or of an unsupported dtype, or rtol is complex.

    Differentiable in `a` in forward and reverse mode to any order, along matrices of constant rank, where
    singular values are repeated too (Golub & Pereyra, SIAM J. Numer. Anal. 10, 1973, 413-432):
    dP = −P dA P + P Pᴴ dAᴴ (I − A P) + (I − P A) dAᴴ Pᴴ P. The derivative in rtol is zero.
    """
    a = matrices("pinv", a)
    if hermitian and a.shape[-1] != a.shape[-2]:
        raise ValueError(f"jaxinv.pinv: expected square matrices with hermitian=True, got shape {a.shape}")
    if rcond is not None:
        if rtol is not None:
            raise ValueError("jaxinv.pinv: only one of rtol and rcond may be given")
        rtol = rcond
    wide = a.astype(compute_dtype(a.dtype))
    wide, cutoff = _with_cutoff("pinv", wide, rtol, "rtol")
    if hermitian:
        wide = wide / 2 + op.adjoint(wide) / 2
    return op.pinv(wide, cutoff, hermitian).astype(a.dtype)


def lstsq(
    a: ArrayLike, b: ArrayLike, rcond: ArrayLike | None = None, *, numpy_resid: bool = False
) -> LstsqResult:
    """Least-squares solution of minimum norm of each system of a batch.

    By the singular value decomposition of jax.numpy.linalg (as LAPACK's gelsd).

    Args:
      a: array (..., m, n), dtypes as for `pinv`.
      b: array (m,), or (..., m, k) with batch dimensions that broadcast against those of `a`. An integer
        beside a float takes the type of the float.
      rcond: real (...), broadcast against the batch dimensions of `a`, may be traced: singular values up to
        rcond times the largest count as zero. Default max(m, n) · eps; negative values mean eps.
      numpy_resid: residuals of NumPy's shape, (0,) where the rank is below n or m <= n. For a
        single matrix and outside of jit only, since that shape depends on values.

    Returns:
      `LstsqResult(x, residuals, rank, s)`: x (n,) or (..., n, k); residuals (..., k), the squared norms of
      the columns of b − a x (k = 1 for a vector); rank (...) an integer; s (..., min(m, n)) the
      singular values, descending. x, residuals and s have the common dtype of `a` and `b`, the latter two
      real. A matrix with a NaN or Inf gives NaN throughout and rank 0; a column of `b` with one gives a
      column of x that is not finite.

    Raises:
      ValueError: shapes do not match, or numpy_resid with a batch or a traced `a`.
      TypeError: an argument is no array or of an unsupported dtype, or rcond is complex.

    x and residuals are differentiable in `a` and `b` to any order along matrices of constant rank, by the
    rule of `pinv`; s in `a` where singular values are distinct (its first derivative is finite
    everywhere); rank is an integer and has no derivative.
    """
    out = _lstsq(a, b, rcond)
    if not numpy_resid:
        return out
    if out.s.ndim > 1 or out.x.ndim > 2:
        shapes = f"{jnp.shape(a)} and {jnp.shape(b)}"
        raise ValueError(f"jaxinv.lstsq: numpy_resid=True needs a single matrix, got shapes {shapes}")
    try:
        rank = int(out.rank)
    except jax.errors.ConcretizationTypeError:
        raise ValueError(
            "jaxinv.lstsq: numpy_resid=True makes a shape of values, which cannot be traced"
        ) from None
    n = out.x.shape[0]
    return out._replace(residuals=out.residuals[:0]) if rank < n or len(b) <= n else out


@jax.jit
def _lstsq(a, b, rcond):
    given = a, b
    a = matrices("lstsq", a)
    b = observations("lstsq", a, b)
    vector = b.ndim == 1
    dtype = common_dtype(*given)
    a, b = (x.astype(compute_dtype(dtype)) for x in (a, b))
    if rcond is not None:
        rcond = real("lstsq", "rcond", rcond)
        rcond = jnp.where(rcond < 0, jnp.finfo(a.dtype).eps, rcond)
    a, cutoff = _with_cutoff("lstsq", a, rcond, "rcond")
    batch("lstsq", a.shape[:-2], b.shape[:-2])
    x, residuals, rank, s = op.lstsq(a, b[:, None] if vector else b, cutoff)
    kind = jnp.finfo(dtype).dtype
    return LstsqResult(
        (x[..., 0] if vector else x).astype(dtype),
        residuals.astype(kind),
        rank.astype(int),
        s.astype(kind),
    )


def _with_cutoff(name: str, a: jax.Array, rtol: ArrayLike | None, argument: str):
    """`a`, and rtol as (..., 1, 1) with its batch dimensions and real dtype."""
    kind = jnp.finfo(a.dtype).dtype
    rtol = real(name, argument, jnp.asarray(default_rtol(a), kind) if rtol is None else rtol)
    shape = batch(name, a.shape[:-2], rtol.shape)
    return broadcast(a, shape), per_matrix(rtol, shape, kind)


def default_rtol(a: jax.Array) -> float:
    """max(m, n) · eps for matrices (..., m, n) in the dtype that computes."""
    return max(a.shape[-2:]) * float(jnp.finfo(a.dtype).eps)
