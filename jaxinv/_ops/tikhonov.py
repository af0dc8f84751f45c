"""Tikhonov regularisation, differentiable to any order and smooth in lam at 0.

One operation holds the derivatives: tikhonov_factors(a, lam, d) gives, of the QR factorisation

  [a; √lam d] = [q; √lam d t] R,

q and t = R⁻¹, so that t qᴴ are the first columns of the pseudo-inverse of the stacked matrix and
argmin ‖a x − b‖² + lam ‖d x‖² = t qᴴ b. No normal equations are formed. With M = aᴴa + lam dᴴd = RᴴR,

  M dx = aᴴ(db − da x) + daᴴ(b − a x) − dlam dᴴd x − lam (ddᴴ d + dᴴ dd) x

follows from n = qᴴ da t + tᴴ(½ dlam dᴴd + lam dᴴ dd) t, dt = −t n, dq = da t − q n: polynomials in lam,
where √lam has no derivative at 0. As with the bases of `pinv`, q and t are determined up to a rotation only,
and the rule takes the derivatives without rotation: x gets its true derivatives of every order.
"""

import jax
from jax import lax
from jax import numpy as jnp

from jaxinv._ops.pinv import adjoint, finite, product
from jaxinv._ops.triple_product import dot
from jaxinv._primitive import Operation, define


def _results(a, lam, d=None):
    m, n = a.shape[-2:]
    return [((m, n), a.dtype), ((n, n), a.dtype)]


def _portable(a, lam, d=None):
    m, n = a.shape[-2:]
    ok = finite(a, lam) & (lam >= 0)
    lam = jnp.where(ok, lam, jnp.zeros_like(lam))
    root = jnp.sqrt(lam).astype(a.dtype)
    eye = lax.expand_dims(jnp.eye(n, dtype=a.dtype), range(a.ndim - 2))
    if d is None:
        penalty = root * eye
    else:
        ok &= finite(d)
        penalty = root * jnp.where(ok, d, jnp.zeros_like(d))
    stacked = jnp.concatenate([jnp.where(ok, a, jnp.zeros_like(a)), penalty], axis=-2)
    if stacked.shape[-2] < n:  # singular by its shape: zero rows make the pivots say so
        missing = n - stacked.shape[-2]
        stacked = jnp.pad(stacked, [*[(0, 0)] * (a.ndim - 2), (0, missing), (0, 0)])
    # Not mode="reduced", whose rule jax does not lower for explicitly sharded batches.
    h, taus = jnp.linalg.qr(stacked, mode="raw")
    h = jnp.matrix_transpose(h)
    q = lax.linalg.householder_product(h, taus)
    r = h[..., :n, :]  # and reflectors below the diagonal, which the triangular solve does not read
    # That ok depends on q also keeps the two calls of LAPACK from running side by side: a run without it
    # once stood still on two cores with jax 0.10.0 (batch 4, n = 512).
    ok &= finite(q) & jnp.all(jnp.diagonal(r, axis1=-2, axis2=-1) != 0, axis=-1)[..., None, None]
    identity = jnp.zeros_like(r) + eye
    t = lax.linalg.triangular_solve(jnp.where(ok, r, identity), identity, left_side=True)
    return [jnp.where(ok, x, jnp.full_like(x, jnp.nan)) for x in (q[..., :m, :], t)]


tikhonov_factors: Operation = define("tikhonov_factors", results=_results, portable=_portable, native=False)
tikhonov_factors.refuse_jet("tikhonov_solve", "tikhonov_pinv")


@tikhonov_factors.def_jvp
def _jvp(primals, tangents):
    _, lam, *d = primals
    da, dlam, *dd = tangents
    q, t = out = tikhonov_factors(*primals)
    w = dot(d[0], t) if d else t
    dq = None if da is None else dot(da, t)
    terms = []
    if da is not None:
        terms.append(dot(adjoint(q), dq))
    if dlam is not None:
        terms.append((dlam / 2).astype(t.dtype) * dot(adjoint(w), w))
    if d and dd[0] is not None:
        terms.append(lam.astype(t.dtype) * dot(adjoint(w), dot(dd[0], t)))
    if not terms:
        return out, [None, None]
    n = sum(terms[1:], terms[0])
    return out, [-dot(q, n) if dq is None else dq - dot(q, n), -dot(t, n)]


def tikhonov_pinv(a: jax.Array, lam: jax.Array, d: jax.Array | None) -> jax.Array:
    """X (..., n, m) of a (..., m, n), lam (..., 1, 1) and d (..., p, n) or None, the identity."""
    if _dual(a, d):
        return adjoint(tikhonov_pinv(adjoint(a), lam, None))
    q, t = tikhonov_factors(a, lam, *(() if d is None else (d,)))
    return dot(t, adjoint(q))


def tikhonov_solve(a: jax.Array, b: jax.Array, lam: jax.Array, d: jax.Array | None) -> jax.Array:
    """X b without X, b (..., m, k)."""
    if _dual(a, d):
        return _dual_solve(a, b, lam, *tikhonov_factors(adjoint(a), lam))
    return _solve(a, b, lam, d, *tikhonov_factors(a, lam, *(() if d is None else (d,))))


# The derivatives of x cost products with x alone; those of the factors are left to the second order.


@jax.custom_jvp
def _solve(a, b, lam, d, q, t):
    return product(t, product(adjoint(q), b))


@_solve.defjvp
def _solve_jvp(primals, tangents):
    a, b, lam, d, q, t = primals
    da, db, dlam, dd, _, _ = tangents
    x = _solve(*primals)
    dx, residual = (x, None) if d is None else (product(d, x), product(dd, x))
    force = product(adjoint(da), b - product(a, x))
    if d is None:
        force -= dlam.astype(x.dtype) * dx
    else:
        force -= product(adjoint(d), dlam.astype(x.dtype) * dx + lam.astype(x.dtype) * residual)
        force -= lam.astype(x.dtype) * product(adjoint(dd), dx)
    return x, product(t, product(adjoint(q), db - product(da, x)) + product(adjoint(t), force))


@jax.custom_jvp
def _dual_solve(a, b, lam, q, t):
    return product(q, product(adjoint(t), b))


@_dual_solve.defjvp
def _dual_solve_jvp(primals, tangents):
    _, b, _, q, t = primals
    da, db, dlam, _, _ = tangents
    x = _dual_solve(*primals)
    y = product(t, product(adjoint(t), b))  # x = aᴴ y
    outer = product(adjoint(da), y)
    inner = product(adjoint(t), db - product(da, x) - dlam.astype(y.dtype) * y)
    return x, outer + product(q, inner - product(adjoint(q), outer))


def _dual(a, d) -> bool:
    """Whether aᴴ(a aᴴ + lam)⁻¹, the same for the identity as penalty, is the smaller problem."""
    return d is None and a.shape[-2] < a.shape[-1]
