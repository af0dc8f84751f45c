"""The inverse of a matrix, with LU's `info` and the determinant of the same factorisation.

Results, in this order: the inverse; with `with_info` the first bad step (int32, LAPACK's meaning); with
`with_det` the determinant as mantissa and power of two, so that nothing overflows early.
"""

import functools

import jax
from jax import numpy as jnp

from jaxinv._ops import diagonal
from jaxinv._ops.floating_point import compute_dtype
from jaxinv._ops.gauss_jordan import gauss_jordan
from jaxinv._ops.structure import TRIANGULAR, is_pos, positive_inverse, triangular_inverse, view
from jaxinv._ops.triple_product import dot, triple_product
from jaxinv._primitive import Operation, define


def _results(a, *, structure, with_info, with_det):
    out = [(a.shape[-2:], a.dtype)]
    if with_info:
        out.append(((), jnp.dtype(jnp.int32)))
    if with_det:
        out += [((), compute_dtype(a.dtype)), ((), jnp.dtype(jnp.int32))]
    return out


def _portable(a, *, structure, with_info, with_det):
    wide = a.astype(compute_dtype(a.dtype))
    if structure in TRIANGULAR and a.shape[-1]:
        x, info, mantissa, exponent = triangular_inverse(wide, structure)
    elif is_pos(structure) and a.shape[-1]:
        x, info, mantissa, exponent = positive_inverse(view(wide, structure))
    else:
        x, info, mantissa, exponent = gauss_jordan(wide)
    out = [x.astype(a.dtype)]
    if with_info:
        out.append(info)
    if with_det:
        out += [mantissa, exponent]
    return out


inverse: Operation = define("inverse", results=_results, portable=_portable)


def invert(
    a: jax.Array, *, structure: str, with_info: bool = False, with_det: bool = False
) -> list[jax.Array]:
    """The inverse of matrices of any structure, with what is asked for."""
    f = diagonal.inverse if structure == "diagonal" else functools.partial(inverse, structure=structure)
    return f(a, with_info=with_info, with_det=with_det)


@inverse.def_jvp
def _jvp(primals, tangents, *, structure, with_info, with_det):
    out = inverse(*primals, structure=structure, with_info=with_info, with_det=with_det)
    x, da = out[0], view(tangents[0], structure)
    out_tangents: list[jax.Array | None] = triple_product(
        x, da, x, transpose_l=False, transpose_g=False, transpose_r=False
    )
    if with_info:
        out_tangents.append(None)
    if with_det:
        # d det = det · tr(X dA); the power of two is constant, so the mantissa carries it.
        mantissa = out[-2]
        x, da = (y.astype(mantissa.dtype) for y in (x, da))
        trace = jnp.sum(x * jnp.matrix_transpose(da), axis=(-2, -1))
        out_tangents += [mantissa * trace, None]
    return out, out_tangents


@inverse.def_jet
def inverse_series(primals, series, *, structure, with_info, with_det):
    # A X = I order by order: X_k = −X Σ_{j=1…k} A_j X_{k−j}, in Taylor coefficients.
    out = inverse(*primals, structure=structure, with_info=with_info, with_det=with_det)
    terms = [view(term, structure) for term in series[0]]
    x = [out[0]]
    for k in range(1, len(terms) + 1):
        x.append(-dot(out[0], sum(dot(terms[j - 1], x[k - j]) for j in range(1, k + 1))))
    out_series = [x[1:], *[None] * with_info]
    if with_det:
        out_series += [_determinant_series(out[-2], x, terms), None]
    return out, out_series


def _determinant_series(mantissa, x, terms):
    # det' = det · tr(X A'), of which order j is Σ_i (j − i + 1) tr(X_i A_{j−i+1}).
    det, traces = [mantissa], []
    x, terms = ([y.astype(mantissa.dtype) for y in values] for values in (x, terms))
    for j in range(len(terms)):
        products = (
            (j - i + 1) * jnp.sum(x[i] * jnp.matrix_transpose(terms[j - i]), axis=(-2, -1))
            for i in range(j + 1)
        )
        traces.append(sum(products))
        det.append(sum(traces[i] * det[j - i] for i in range(j + 1)) / (j + 1))
    return det[1:]
