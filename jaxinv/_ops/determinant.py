"""The determinant as mantissa and power of two, and the derivatives of det at matrices of every rank.

determinant(a) -> mantissa, exponent. Its derivative, that of slogdet, is of the inverse; `det` has its own.
"""

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from jaxinv._ops import diagonal, elimination
from jaxinv._ops.floating_point import (
    determinant_of_pivots,
    frexp,
    largest_component,
    ldexp,
    scale_down,
)
from jaxinv._ops.inverse import inverse, inverse_series
from jaxinv._ops.structure import TRIANGULAR, is_pos, view
from jaxinv._ops.triple_product import dot
from jaxinv._primitive import Operation, define


def _results(a, *, structure):
    return [((), a.dtype), ((), jnp.dtype(jnp.int32))]


def _portable(a, *, structure):
    if a.shape[-1] == 0:
        return [jnp.ones(a.shape[:-2], a.dtype), jnp.zeros(a.shape[:-2], jnp.int32)]
    a = view(a, structure)
    shift, unscale = scale_down(jnp.max(largest_component(a), axis=(-2, -1)), a.dtype)
    _, permutation, info, pivots = elimination.lu(a * unscale[..., None, None], is_pos(structure))
    return list(determinant_of_pivots(a, pivots, elimination.is_odd(permutation), shift, info))


determinant: Operation = define("determinant", results=_results, portable=_portable)


@determinant.def_jvp
def _jvp(primals, tangents, *, structure):
    # d det = det · tr(X dA): the inverse comes with its determinant, from one factorisation.
    def through_inverse(a):
        return inverse(a, structure=structure, with_info=False, with_det=True)[1:]

    (mantissa, exponent), (d_mantissa, _) = jax.jvp(through_inverse, primals, tuple(tangents))
    return [mantissa, exponent], [d_mantissa, None]


@determinant.def_jet
def _jet(primals, series, *, structure):
    out, out_series = inverse_series(primals, series, structure=structure, with_info=False, with_det=True)
    return out[1:], out_series[1:]


def sign_and_logarithm(mantissa: jax.Array, exponent: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sign (modulus 1 for complex; 0 for 0) and log|mantissa · 2**exponent|."""
    size = jnp.abs(mantissa)
    logarithm = jnp.log(size) + exponent.astype(size.dtype) * np.log(2).astype(size.dtype)
    if jnp.iscomplexobj(mantissa):
        sign = jnp.where(size == 0, 0, mantissa / jnp.where(size == 0, 1, size).astype(mantissa.dtype))
    else:
        sign = jnp.sign(mantissa)
    return sign, logarithm


def mantissa_and_exponent(a: jax.Array, structure: str) -> list[jax.Array]:
    """The determinant of matrices of any structure."""
    if structure == "diagonal" or structure in TRIANGULAR:
        return diagonal.determinant(a, structure)
    return determinant(a, structure=structure)


def det(a: jax.Array, structure: str) -> jax.Array:
    """Determinant of a (..., n, n), with derivatives at every rank."""
    if structure == "diagonal" or structure in TRIANGULAR:
        return ldexp(*diagonal.determinant(a, structure))
    return _det(a, structure=structure)[0]


# An operation of its own, not a function with jax.custom_jvp, through which Taylor mode finds no way.
_det: Operation = define(
    "det",
    results=lambda a, structure: [((), a.dtype)],
    portable=lambda a, structure: [ldexp(*determinant(a, structure=structure))],
    native=False,
)


@_det.def_jvp
def _det_jvp(primals, tangents, *, structure):
    # D det[E] = tr(adj(a) E).
    a, da = (view(x, structure) for x in (*primals, *tangents))
    trace = jnp.sum(jnp.matrix_transpose(adjugate(a)) * da, axis=(-2, -1))
    return _det(*primals, structure=structure), [trace]


@_det.def_jet
def _det_jet(primals, series, *, structure):
    (mantissa, exponent), (terms, _) = _jet(primals, series, structure=structure)
    return [ldexp(mantissa, exponent)], [[ldexp(term, exponent) for term in terms]]


@jax.custom_jvp
def adjugate(a: jax.Array) -> jax.Array:
    """adj(a) = det(U Vᴴ) V diag(∏_{k≠i} σ_k) Uᴴ for a = U diag(σ) Vᴴ: accurate at every rank."""
    return _adjugate(a)[0]


def _adjugate(a):
    if a.shape[-1] == 0:
        return a, None
    u, sigma, vh = jnp.linalg.svd(a, full_matrices=False)
    uh, v = (jnp.matrix_transpose(x).conj() for x in (u, vh))
    (sign_u, _), (sign_v, _) = (sign_and_logarithm(*determinant(x, structure="general")) for x in (u, vh))
    v = v * (sign_u * sign_v)[..., None, None]
    products = _products_of_others(sigma).astype(a.dtype)
    return dot(v * products[..., None, :], uh), (sigma, uh, jnp.matrix_transpose(vh).conj(), v)


@adjugate.defjvp
def _adjugate_jvp(primals, tangents):
    # With Ẽ = Uᴴ E V and p_ij = ∏_{k≠i,j} σ_k, D adj[E] = det(U Vᴴ) V G Uᴴ where G_ij = −Ẽ_ij p_ij beside the
    # diagonal and G_jj = Σ_{i≠j} Ẽ_ii p_ij.
    (a,), (da,) = primals, tangents
    out, factors = _adjugate(a)
    if factors is None:
        return out, da
    sigma, uh, v, signed_v = factors
    n = a.shape[-1]
    e = dot(dot(uh, da), v)
    identity = jnp.eye(n, dtype=bool)
    # Row i holds every σ but the i-th, which is 1.
    p = _products_of_others(jnp.where(identity, 1, sigma[..., None, :])).astype(a.dtype)
    p = jnp.where(identity, 0, p)
    diagonal = jnp.sum(jnp.diagonal(e, axis1=-2, axis2=-1)[..., :, None] * p, axis=-2)
    g = jnp.where(identity, diagonal[..., None, :], -e * p)
    return out, dot(dot(signed_v, g), uh)


def _products_of_others(x: jax.Array) -> jax.Array:
    """∏_{k≠i} x_k along the last axis, by prefix and suffix: no division, and no early over- or underflow."""

    def times(x, y):
        mantissa, e = frexp(x[0] * y[0])
        return mantissa, x[1] + y[1] + e

    ones = jnp.ones_like(x[..., :1]), jnp.zeros_like(x[..., :1], jnp.int32)
    parts = frexp(x)
    before = lax.associative_scan(times, parts, axis=x.ndim - 1)
    after = lax.associative_scan(times, parts, axis=x.ndim - 1, reverse=True)
    before = [jnp.concatenate([one, v[..., :-1]], axis=-1) for one, v in zip(ones, before, strict=True)]
    after = [jnp.concatenate([v[..., 1:], one], axis=-1) for one, v in zip(ones, after, strict=True)]
    return ldexp(*times(before, after))
