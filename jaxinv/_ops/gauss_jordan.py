"""Portable batched Gauss-Jordan inversion with partial pivoting, in plain jax.numpy.

Three forms of one algorithm, by size: unrolled; a rolled loop with the batch in the minor dimensions, where
XLA vectorises over it; panels of columns whose effect on the other columns is one matrix product. The two
rolled ones carry the next pivot from step to step: a loop carry is stored, so XLA cannot fuse the
search into the update and repeat it for every element.
"""

import math

import jax
from jax import lax
from jax import numpy as jnp

_UNROLLED = 3  # beyond, XLA splits the unrolled code into ever more fusions
_BATCH_MINOR = 16  # beyond, selecting the pivot row among n costs more than gathering it
_PANEL = 32  # columns per panel


def gauss_jordan(a: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Inverts a (..., n, n). Returns inverse, info, and the determinant's mantissa and exponent.

    The determinant is mantissa · 2**exponent; the larger component of a finite non-zero mantissa lies in
    [sqrt(1/2), sqrt(2)), so that the logarithm of a determinant near 1 does not cancel.
    """
    n = a.shape[-1]
    batch = a.shape[:-2]
    if n == 0:
        zeros = jnp.zeros(batch, jnp.int32)
        return a, zeros, jnp.ones(batch, a.dtype), zeros
    if n <= _UNROLLED:
        x, pivots, odd, shift = _unrolled(a)
    elif n <= _BATCH_MINOR:
        x, pivots, odd, shift = _batch_minor(a)
    else:
        x, pivots, odd, shift = _blocked(a)
    bad = (pivots == 0) | ~jnp.isfinite(pivots)
    step = lax.broadcasted_iota(jnp.int32, pivots.shape, 0)
    first = jnp.min(jnp.where(bad, step, n), axis=0)
    info = jnp.where(first == n, 0, first + 1)
    x = jnp.where((info == 0)[..., None, None], x, _nan(a.dtype))

    def times(k, carry):
        mantissa, exponent, zero = carry
        pivot = lax.dynamic_index_in_dim(pivots, k, keepdims=False)
        pivot, e = _frexp(pivot)
        mantissa, f = _frexp(mantissa * pivot)
        return mantissa, exponent + e + f, zero | ((pivot == 0) & (k + 1 == info))

    sign = jnp.where(odd, -1, 1).astype(a.dtype)
    init = sign, jnp.zeros_like(info), jnp.zeros_like(odd)
    mantissa, exponent, zero = lax.fori_loop(jnp.int32(0), jnp.int32(n), times, init)
    zero &= jnp.all(jnp.isfinite(a), axis=(-2, -1))
    mantissa = jnp.where(info == 0, mantissa, jnp.where(zero, jnp.zeros((), a.dtype), _nan(a.dtype)))
    exponent = jnp.where(info == 0, exponent + n * shift, 0)
    return x, info, mantissa, exponent


def power_of_two(exponent: jax.Array, real) -> jax.Array:
    """2**exponent, exactly (exp2 is not exact on every platform), for exponents of normal numbers."""
    bits = (exponent + (real.maxexp - 1)).astype(f"int{real.bits}") << real.nmant
    return lax.bitcast_convert_type(bits, real.dtype)


def _nan(dtype):
    return jnp.full((), complex(math.nan, math.nan) if jnp.issubdtype(dtype, complex) else math.nan, dtype)


def _magnitude(z: jax.Array) -> jax.Array:
    """What the pivot search compares; NaN counts as the largest."""
    size = jnp.abs(z.real) + jnp.abs(z.imag) if jnp.iscomplexobj(z) else jnp.abs(z)
    return jnp.where(jnp.isnan(size), jnp.inf, size)


def _largest_component(z: jax.Array) -> jax.Array:
    return jnp.maximum(jnp.abs(z.real), jnp.abs(z.imag)) if jnp.iscomplexobj(z) else jnp.abs(z)


def _frexp(z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """z = m · 2**e with the larger component of m in [sqrt(1/2), sqrt(2)); normal numbers only."""
    real = jnp.finfo(z.dtype)
    size = _largest_component(z)
    bits = lax.bitcast_convert_type(size, f"int{real.bits}")
    e = (bits >> real.nmant).astype(jnp.int32) - (real.maxexp - 1)
    # The power of two itself has to be normal, one way and back.
    e = jnp.clip(e, real.minexp + 1, real.maxexp - 2)
    scale = power_of_two(-e, real)
    up = size * scale >= math.sqrt(2)
    return z * jnp.where(up, scale / 2, scale).astype(z.dtype), e + up.astype(jnp.int32)


def _scaled_pivot(pivot: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(s, s · pivot), s the power of two that brings it near 1: no reciprocal over- or underflows."""
    scaled, e = _frexp(pivot)
    return power_of_two(-e, jnp.finfo(pivot.dtype)).astype(pivot.dtype), scaled


def _unrolled(a: jax.Array):
    n = a.shape[-1]
    m = [[a[..., i, j] for j in range(n)] for i in range(n)]
    pivots, swaps = [], []
    odd = jnp.zeros(a.shape[:-2], bool)
    for k in range(n):
        best, hot = _magnitude(m[k][k]), {}
        for i in range(k + 1, n):
            size = _magnitude(m[i][k])
            larger = size > best
            best = jnp.where(larger, size, best)
            hot = {j: h & ~larger for j, h in hot.items()} | {i: larger}
        for i, h in hot.items():
            odd ^= h
            m[k], m[i] = (
                [jnp.where(h, y, x) for x, y in zip(m[k], m[i], strict=True)],
                [jnp.where(h, x, y) for x, y in zip(m[k], m[i], strict=True)],
            )
        swaps.append(hot)
        pivots.append(m[k][k])
        scale, pivot = _scaled_pivot(m[k][k])
        m[k] = [(scale if j == k else m[k][j] * scale) / pivot for j in range(n)]
        for i in range(n):
            if i != k:
                f = m[i][k]
                m[i] = [(0 if j == k else m[i][j]) - f * m[k][j] for j in range(n)]
    for k in reversed(range(n)):
        for i, h in swaps[k].items():
            for row in m:
                row[k], row[i] = jnp.where(h, row[i], row[k]), jnp.where(h, row[k], row[i])
    x = jnp.stack([jnp.stack(row, axis=-1) for row in m], axis=-2)
    return x, jnp.stack(pivots), odd, 0
