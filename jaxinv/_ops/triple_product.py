"""triple_product(l, g, r) = −op(l) op(g) op(r), op = identity or transpose: the derivative of the inverse.

Linear in each operand and closed under differentiation: its JVP is a sum of itself, its transpose in any
operand is itself with operands and flags exchanged. So every order of derivative of the inverse stays in
this family and no transpose is written to memory.
"""

import jax
from jax import lax
from jax import numpy as jnp

from jaxinv._primitive import Operation, define


def _results(l, g, r, **_):
    return [(g.shape[-2:], g.dtype)]


def dot(x: jax.Array, y: jax.Array, transpose_x: bool = False, transpose_y: bool = False):
    """op(x) op(y) over leading batch dimensions, in full precision on every platform."""
    batch = tuple(range(x.ndim - 2))
    row, column = x.ndim - 2, x.ndim - 1
    contract = ((row if transpose_x else column,), (column if transpose_y else row,))
    return lax.dot_general(x, y, (contract, (batch, batch)), precision=lax.Precision.HIGHEST)


def _portable(l, g, r, *, transpose_l, transpose_g, transpose_r):
    dtype = g.dtype
    if dtype in (jnp.float16, jnp.bfloat16):
        l, g, r = (x.astype(jnp.float32) for x in (l, g, r))
    out = dot(l, dot(g, r, transpose_g, transpose_r), transpose_l)
    return [(-out).astype(dtype)]


triple_product: Operation = define("triple_product", results=_results, portable=_portable)


def _bind(l, g, r, transpose_l, transpose_g, transpose_r):
    (out,) = triple_product(
        l, g, r, transpose_l=transpose_l, transpose_g=transpose_g, transpose_r=transpose_r
    )
    return out


@triple_product.def_jvp
def _jvp(primals, tangents, **static):
    out = triple_product(*primals, **static)
    terms = []
    for i, tangent in enumerate(tangents):
        if tangent is not None:
            terms += triple_product(*primals[:i], tangent, *primals[i + 1 :], **static)
    return out, [sum(terms[1:], terms[0])]


@triple_product.def_linear_transpose
def _transpose(ct, index, operands, *, transpose_l, transpose_g, transpose_r):
    # With y = −L G R (L = op(l), ...): the cotangents of L, G, R are −ct Rᵀ Gᵀ, −Lᵀ ct Rᵀ, −Gᵀ Lᵀ ct;
    # where op is the transpose, the whole product is transposed: factors reversed, flags flipped.
    l, g, r = operands
    tl, tg, tr = transpose_l, transpose_g, transpose_r
    if index == 0:
        return _bind(g, r, ct, tg, tr, True) if tl else _bind(ct, r, g, False, not tr, not tg)
    if index == 1:
        return _bind(r, ct, l, tr, True, tl) if tg else _bind(l, ct, r, not tl, False, not tr)
    return _bind(ct, l, g, True, tl, tg) if tr else _bind(g, l, ct, not tg, not tl, False)


@triple_product.def_jet
def _jet(primals, series, **static):
    # Order k is the sum of the products whose orders add up to k.
    l, g, r = ([x, *terms] for x, terms in zip(primals, series, strict=True))
    out = []
    for k in range(len(l)):
        orders = [(i, j, k - i - j) for i in range(k + 1) for j in range(k + 1 - i)]
        out.append(sum(triple_product(l[i], g[j], r[m], **static)[0] for i, j, m in orders))
    return [out[0]], [out[1:]]
