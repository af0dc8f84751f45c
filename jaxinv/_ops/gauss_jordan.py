"""Portable batched Gauss-Jordan inversion with partial pivoting, in plain jax.numpy."""

import jax
from jax import lax
from jax import numpy as jnp


def gauss_jordan(a: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Inverts a (..., n, n). Returns inverse, info, and the determinant's mantissa and exponent."""
    n = a.shape[-1]
    batch = a.shape[:-2]
    real = jnp.finfo(a.dtype).dtype
    index = jnp.arange(n)

    def step(k, carry):
        a, used, order, info, mantissa, exponent = carry
        column = lax.dynamic_index_in_dim(a, k, -1, keepdims=False)
        size = jnp.abs(column.real) + jnp.abs(column.imag) if jnp.iscomplexobj(a) else jnp.abs(column)
        size = jnp.where(jnp.isnan(size), jnp.inf, size)
        size = jnp.where(used, -1, size)
        hot = index == jnp.argmax(size, axis=-1)[..., None]
        row = jnp.sum(jnp.where(hot[..., None], a, 0), axis=-2)
        pivot = lax.dynamic_index_in_dim(row, k, -1, keepdims=False)
        bad = (pivot == 0) | ~jnp.isfinite(pivot)
        info = jnp.where((info == 0) & bad, k + 1, info)
        at_k = index == k
        row = jnp.where(at_k, 1, row) / pivot[..., None]
        factor = jnp.where(hot, -1, column)
        a = jnp.where(hot[..., None] | at_k, 0, a) - factor[..., None] * row[..., None, :]
        order = jnp.where(hot, k, order)
        m = mantissa * pivot
        _, e = jnp.frexp(jnp.maximum(jnp.abs(m.real), jnp.abs(m.imag)))
        e = jnp.where(m == 0, 0, e)
        mantissa = m * jnp.exp2(-e.astype(real))
        return a, used | hot, order, info, mantissa, exponent + e

    zeros = jnp.zeros(batch, jnp.int32)
    init = (a, jnp.zeros((*batch, n), bool), jnp.zeros((*batch, n), jnp.int32), zeros)
    init += (jnp.ones(batch, a.dtype), zeros)
    x, _, order, info, mantissa, exponent = lax.fori_loop(0, n, step, init)
    rows = jnp.argsort(order, axis=-1)
    x = jnp.take_along_axis(x, rows[..., None], axis=-2)
    x = jnp.take_along_axis(x, order[..., None, :], axis=-1)
    swaps = jnp.sum((rows[..., :, None] > rows[..., None, :]) & (index[:, None] < index), (-2, -1))
    mantissa = jnp.where(swaps % 2 == 1, -mantissa, mantissa)
    x = jnp.where((info == 0)[..., None, None], x, jnp.nan)
    return x, info, mantissa, exponent
