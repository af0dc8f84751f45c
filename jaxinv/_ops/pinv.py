"""The Moore-Penrose inverse, differentiable to any order along matrices of constant rank.

One operation holds the derivatives: pinv_factors(a, rtol) of tall a = U Σ Vᴴ gives u and v, orthonormal bases
of the ranges of a and aᴴ (columns of singular values that count as zero are zero), and t = v Σ⁻¹, so that
P = t uᴴ is the pseudo-inverse. Its derivative is that of Golub & Pereyra (SIAM J. Numer. Anal. 10, 1973),

  dP = −P dA P + P Pᴴ dAᴴ (I − A P) + (I − P A) dAᴴ Pᴴ P,

with the projectors I − u uᴴ and I − v vᴴ, accurate at every condition number and without a square matrix of
the long side. The bases are determined up to a rotation only; of their possible derivatives the rule takes
those without rotation. They divide by no difference of singular values, and whatever does not depend on the
choice of the bases, such as P, gets its true derivatives of every order from them.
"""

import jax
from jax import lax
from jax import numpy as jnp

from jaxinv._ops.triple_product import dot
from jaxinv._primitive import Operation, define


def adjoint(a: jax.Array) -> jax.Array:
    """Aᴴ of each matrix."""
    return jnp.matrix_transpose(a).conj()


def finite(*arrays: jax.Array) -> jax.Array:
    """Whether all entries of each matrix are finite, as (..., 1, 1)."""
    ok = [jnp.all(jnp.isfinite(a), axis=(-2, -1), keepdims=True) for a in arrays]
    return jnp.all(jnp.stack(jnp.broadcast_arrays(*ok)), axis=0)


def _safe(a: jax.Array) -> jax.Array:
    """Zero in place of matrices that no factorisation should meet."""
    return jnp.where(finite(a), a, jnp.zeros_like(a))


def _svd(a: jax.Array, hermitian: bool) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(u, s, v) of tall a = u diag(s) vᴴ, s as a row; of a Hermitian matrix s is not sorted."""
    if hermitian:
        w, v = jnp.linalg.eigh(a, symmetrize_input=False)
        w = w[..., None, :]
        return v * jnp.sign(w).astype(v.dtype), jnp.abs(w), v
    u, s, vh = jnp.linalg.svd(a, full_matrices=False)
    return u, s[..., None, :], adjoint(vh)


def _results(a, rtol, *, hermitian):
    m, n = a.shape[-2:]
    return [((m, n), a.dtype), ((n, n), a.dtype), ((n, n), a.dtype), ((1, 1), jnp.dtype(jnp.int32))]


def _portable(a, rtol, *, hermitian):
    ok = finite(a) & ~jnp.isnan(rtol)
    u, s, v = _svd(_safe(a), hermitian)
    keep = (s > rtol * jnp.max(s, axis=-1, keepdims=True, initial=0)) & (s > 0)
    u, v = (jnp.where(keep, x, jnp.zeros_like(x)) for x in (u, v))
    t = v / jnp.where(keep, s, jnp.ones_like(s)).astype(v.dtype)
    rank = jnp.sum(keep, axis=-1, keepdims=True, dtype=jnp.int32)
    return [*(jnp.where(ok, x, jnp.full_like(x, jnp.nan)) for x in (u, t, v)), rank]


pinv_factors: Operation = define("pinv_factors", results=_results, portable=_portable, native=False)
pinv_factors.refuse_jet("pinv", "lstsq")


def _rejected(y: jax.Array, basis: jax.Array, everything: jax.Array) -> jax.Array:
    """(I − basis basisᴴ) y, exactly zero where the basis spans everything."""
    return jnp.where(everything, jnp.zeros_like(y), y - dot(basis, dot(adjoint(basis), y)))


@pinv_factors.def_jvp
def _jvp(primals, tangents, *, hermitian):
    a, rtol = primals
    m, n = a.shape[-2:]
    u, t, v, rank = out = pinv_factors(a, rtol, hermitian=hermitian)
    da, _ = tangents
    if da is None:
        return out, [None] * 4
    du = _rejected(dot(da, t), u, rank == m)
    # w = dAᴴ Pᴴ; the part of it outside the range of aᴴ is what moves that range.
    w = dot(dot(adjoint(da), u), adjoint(t))
    dt = _rejected(dot(w, t), v, rank == n) - dot(t, dot(adjoint(u), dot(da, t)))
    dv = _rejected(dot(w, v), v, rank == n)
    return out, [du, dt, dv, None]


def _singular_values(a):
    s = _svd(_safe(a), False)[1]
    return [jnp.where(finite(a), s, jnp.full_like(s, jnp.nan))[..., 0, :]]


singular_values: Operation = define(
    "singular_values",
    results=lambda a: [((a.shape[-1],), jnp.finfo(a.dtype).dtype)],
    portable=_singular_values,
    native=False,
)


@singular_values.def_jvp
def _singular_values_jvp(primals, tangents):
    (a,), (da,) = primals, tangents
    u, _, v = _svd(_safe(a), False)
    return singular_values(a), [jnp.sum(u.conj() * dot(da, v), axis=-2).real]


def pinv(a: jax.Array, rtol: jax.Array, hermitian: bool) -> jax.Array:
    """P (..., n, m) of a (..., m, n); rtol (..., 1, 1). `hermitian` takes a for Hermitian."""
    if a.shape[-2] < a.shape[-1]:
        return adjoint(pinv(adjoint(a), rtol, hermitian))
    u, t, _, _ = pinv_factors(a, rtol, hermitian=hermitian)
    return dot(t, adjoint(u))


def pseudo_inverse_factors(a: jax.Array, rtol: jax.Array) -> tuple[jax.Array, ...]:
    """(left, right, basis, rank) of a (..., m, n): P = left rightᴴ, and a basis of the range of aᴴ."""
    if a.shape[-2] < a.shape[-1]:
        u, t, _, rank = pinv_factors(adjoint(a), rtol, hermitian=False)
        return u, t, u, rank
    u, t, v, rank = pinv_factors(a, rtol, hermitian=False)
    return t, u, v, rank


def lstsq(a: jax.Array, b: jax.Array, rtol: jax.Array) -> tuple[jax.Array, ...]:
    """x = P b without P, squared norms of the columns of b − a x, rank and singular values.

    The SVD of the primal and that of the singular values are one call once compiled: XLA merges equal calls.
    """
    factors = pseudo_inverse_factors(a, rtol)
    x = _apply(a, b, *factors)
    r = b - product(a, x)
    (s,) = singular_values(adjoint(a) if a.shape[-2] < a.shape[-1] else a)
    return x, jnp.sum((r * r.conj()).real, axis=-2), factors[-1][..., 0, 0], s


@jax.custom_jvp
def _apply(a, b, left, right, basis, rank):
    """x = P b of P = left rightᴴ. Its derivative is products with x; that of P waits for the second order."""
    return product(left, product(adjoint(right), b))


@_apply.defjvp
def _apply_jvp(primals, tangents):
    a, b, left, right, basis, rank = primals
    da, db, *_ = tangents
    x = _apply(*primals)
    r = b - product(a, x)
    # dx = P (db − da x + Pᴴ daᴴ r) + (I − v vᴴ) daᴴ Pᴴ x, v the basis of the range of aᴴ.
    inner = db - product(da, x) + product(right, product(adjoint(left), product(adjoint(da), r)))
    outer = product(adjoint(da), product(right, product(adjoint(left), x)))
    rest = outer - product(basis, product(adjoint(basis), outer))
    outer = jnp.where(rank == a.shape[-1], jnp.zeros_like(outer), rest)
    return x, product(left, product(adjoint(right), inner)) + outer


def product(x: jax.Array, y: jax.Array) -> jax.Array:
    """x y in full precision, batch dimensions broadcast."""
    return jnp.matmul(x, y, precision=lax.Precision.HIGHEST)
