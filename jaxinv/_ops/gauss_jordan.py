"""Portable batched Gauss-Jordan inversion with partial pivoting, in plain jax.numpy.

Three forms of one algorithm, by size: unrolled; a rolled loop with the batch in the minor dimensions, where
XLA vectorises over it; panels of columns whose effect on the other columns is one matrix product. The two
rolled ones carry the next pivot from step to step: a loop carry is stored, so XLA cannot fuse the
search into the update and repeat it for every element.
"""

import functools

import jax
from jax import lax
from jax import numpy as jnp

from jaxinv._ops.floating_point import (
    determinant_of_pivots,
    first_bad_step,
    largest_component,
    magnitude,
    nan,
    scale_down,
    scaled_pivot,
)
from jaxinv._ops.triple_product import dot

_UNROLLED = 3  # beyond, XLA splits the unrolled code into ever more fusions
_BATCH_MINOR = 16  # beyond, selecting the pivot row among n costs more than gathering it
_SINGLE_PANEL = 64  # below, the whole matrix is one panel
_PANEL = 32  # columns per panel


def gauss_jordan(a: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Inverts a (..., n, n). Returns inverse, info, and the determinant's mantissa and exponent."""
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
    info = first_bad_step(pivots)
    x = jnp.where((info == 0)[..., None, None], x, nan(a.dtype))
    mantissa, exponent = determinant_of_pivots(a, pivots, odd, shift, info)
    return x, info, mantissa, exponent


def _take(a: jax.Array, index: jax.Array, axis: int) -> jax.Array:
    return jnp.take_along_axis(a, index, axis=axis, mode="promise_in_bounds")


def _unrolled(a: jax.Array):
    n = a.shape[-1]
    m = [[a[..., i, j] for j in range(n)] for i in range(n)]
    largest = functools.reduce(jnp.maximum, [largest_component(z) for row in m for z in row])
    shift, unscale = scale_down(largest, a.dtype)
    m = [[z * unscale for z in row] for row in m]
    pivots, swaps = [], []
    odd = jnp.zeros_like(m[0][0], bool)
    for k in range(n):
        best, hot = magnitude(m[k][k]), {}
        for i in range(k + 1, n):
            size = magnitude(m[i][k])
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
        scale, pivot = scaled_pivot(m[k][k])
        m[k] = [(scale if j == k else m[k][j] * scale) / pivot for j in range(n)]
        for i in range(n):
            if i != k:
                f = m[i][k]
                m[i] = [(0 if j == k else m[i][j]) - f * m[k][j] for j in range(n)]
    for k in reversed(range(n)):
        for i, h in swaps[k].items():
            for row in m:
                row[k], row[i] = jnp.where(h, row[i], row[k]), jnp.where(h, row[k], row[i])
    x = jnp.stack([jnp.stack([z * unscale for z in row], axis=-1) for row in m], axis=-2)
    return x, jnp.stack(pivots), odd, shift


def _batch_minor(a: jax.Array):
    n = a.shape[-1]
    rank = a.ndim - 2
    # A reduction, here: a chain of maxima would be fused into the product and repeated for every element.
    shift, unscale = scale_down(jnp.max(largest_component(a), axis=(-2, -1)), a.dtype)
    unscale = lax.optimization_barrier(unscale)
    a = jnp.moveaxis(a, (-2, -1), (0, 1))
    a = a * unscale[None, None]
    index = jnp.arange(n, dtype=jnp.int32).reshape(n, *[1] * rank)

    def search(column, k):
        # A chain of selects, not a reduction: XLA vectorises it over the batch.
        size = magnitude(column)
        best = jnp.full_like(size[0], -1)
        p = jnp.full_like(best, k, jnp.int32)
        pivot = jnp.zeros_like(column[0])
        for i in range(n):
            larger = (size[i] > best) & (i >= k)
            best = jnp.where(larger, size[i], best)
            p = jnp.where(larger, i, p)
            pivot = jnp.where(larger, column[i], pivot)
        return p, pivot

    def step(k, carry):
        a, p, pivot, pivots, swaps = carry
        pivots = lax.dynamic_update_index_in_dim(pivots, pivot, k, 0)
        swaps = lax.dynamic_update_index_in_dim(swaps, p, k, 0)
        column = lax.dynamic_index_in_dim(a, k, 1, keepdims=False)
        displaced = lax.dynamic_index_in_dim(a, k, 0, keepdims=False)
        row = a[0]
        for i in range(1, n):
            row = jnp.where((p == i)[None], a[i], row)
        scale, pivot = scaled_pivot(pivot)
        at_k = index == k
        row = jnp.where(at_k, 1, row) * scale[None] / pivot[None]
        # What crosses a barrier is stored once, where XLA would compute it again for every element.
        row = lax.optimization_barrier(row)
        hot = index == p[None]
        factor = jnp.where(hot, lax.dynamic_index_in_dim(column, k, 0), column)
        others = jnp.where(at_k[None], 0, jnp.where(hot[:, None], displaced[None], a))
        a = jnp.where(at_k[:, None], row[None], others - factor[:, None] * row[None])
        a = lax.optimization_barrier(a)
        column = lax.dynamic_index_in_dim(a, jnp.minimum(k + 1, n - 1), 1, keepdims=False)
        return a, *search(column, k + 1), pivots, swaps

    def columns(k, order):
        p = lax.dynamic_index_in_dim(swaps, k, 0)
        at_p = jnp.sum(jnp.where(index == p, order, 0), axis=0, keepdims=True, dtype=jnp.int32)
        order = jnp.where(index == p, lax.dynamic_index_in_dim(order, k, 0), order)
        return jnp.where(index == k, at_p, order)

    init = a, *search(a[:, 0], 0), jnp.zeros_like(a[0]), jnp.zeros_like(a[0], jnp.int32)
    a, _, _, pivots, swaps = lax.fori_loop(jnp.int32(0), jnp.int32(n), step, init)
    # Rows were swapped: with P the permutation of all swaps, A⁻¹ = X P, so column k goes to column order[k].
    order = lax.fori_loop(jnp.int32(0), jnp.int32(n), columns, jnp.zeros_like(swaps) + index)
    x = jnp.zeros_like(a)
    for k in range(n):
        x = jnp.where((order[k][None] == index)[None], a[:, k][:, None], x)
    odd = jnp.sum(swaps != index, axis=0, dtype=jnp.int32) % 2 == 1
    return jnp.moveaxis(x * unscale[None, None], (0, 1), (-2, -1)), pivots, odd, shift


def _blocked(a: jax.Array):
    size = a.shape[-1]
    batch = a.shape[:-2]
    shift, unscale = scale_down(jnp.max(largest_component(a), axis=(-2, -1)), a.dtype)
    unscale = unscale[..., None, None]
    a = a * unscale
    panels = -(-size // _PANEL) if size >= _SINGLE_PANEL else 1
    width = -(-size // panels)
    n = panels * width
    if n > size:
        # diag(A, I): the added rows are zero in the columns of A, so no search prefers them.
        identity = jnp.diag((jnp.arange(n) >= size).astype(a.dtype))
        a = jnp.pad(a, [(0, 0)] * len(batch) + [(0, n - size)] * 2) + lax.expand_dims(
            identity, range(len(batch))
        )
    index = lax.expand_dims(jnp.arange(n, dtype=jnp.int32), range(len(batch)))
    in_panel = index[..., :width]

    def search(column, used):
        return lax.argmax(jnp.where(used, -1, magnitude(column)), column.ndim - 1, jnp.int32)

    def step(t, carry):
        panel, column, p, used, order, pivots = carry  # panel is transposed: its columns are contiguous
        hot = index == p[..., None]
        at_t = in_panel == t
        row = _take(panel, p[..., None, None], -1)[..., 0]
        pivot = lax.dynamic_index_in_dim(row, t, -1)
        order = jnp.where(at_t, p[..., None], order)
        pivots = jnp.where(at_t, pivot, pivots)
        scale, pivot = scaled_pivot(pivot)
        row = lax.optimization_barrier(jnp.where(at_t, 1, row) * scale / pivot)
        factor = jnp.where(hot, -1, column)
        others = jnp.where(hot[..., None, :] | at_t[..., None], 0, panel)
        panel = lax.optimization_barrier(others - row[..., None] * factor[..., None, :])
        used |= hot
        column = lax.dynamic_index_in_dim(panel, jnp.minimum(t + 1, width - 1), -2, keepdims=False)
        return panel, column, search(column, used), used, order, pivots

    def block(b, carry):
        a, before, orders, all_pivots = carry
        start = b * width
        panel = jnp.matrix_transpose(lax.dynamic_slice_in_dim(a, start, width, -1))
        column = panel[..., 0, :]
        init = panel, column, search(column, before), before
        init += (jnp.zeros_like(orders[..., :width]), jnp.zeros_like(all_pivots[..., :width]))
        out = lax.fori_loop(jnp.int32(0), jnp.int32(width), step, init)
        panel, _, _, used, order, pivots = out
        panel = jnp.matrix_transpose(panel)
        if panels > 1:
            # The panel now holds the product of its steps; it acts on the pivot rows of the other columns.
            rows = _take(a, order[..., None], -2)
            eliminated = (used & ~before)[..., None]
            a = jnp.where(eliminated, 0, a) + dot(panel, rows)
        a = lax.dynamic_update_slice_in_dim(a, panel, start, a.ndim - 1)
        orders = lax.dynamic_update_slice_in_dim(orders, order, start, orders.ndim - 1)
        all_pivots = lax.dynamic_update_slice_in_dim(all_pivots, pivots, start, orders.ndim - 1)
        return a, used, orders, all_pivots

    column = a[..., 0]
    init = a, jnp.zeros_like(column, bool), jnp.zeros_like(column, jnp.int32), jnp.zeros_like(column)
    a, _, order, pivots = lax.fori_loop(jnp.int32(0), jnp.int32(panels), block, init)
    # Rows never moved: row order[k] of the result is row k of the inverse, its column k column order[k].
    at = order[..., None, :] == index[..., None]
    inverse_order = jnp.sum(jnp.where(at, index[..., None, :], 0), axis=-1, dtype=jnp.int32)
    x = _take(_take(a, order[..., None], -2), inverse_order[..., None, :], -1)
    after = index[..., :, None] < index[..., None, :]
    inverted = (order[..., :, None] > order[..., None, :]) & after
    odd = jnp.sum(inverted, axis=(-2, -1), dtype=jnp.int32) % 2 == 1
    x = x[..., :size, :size] * unscale
    return x, jnp.moveaxis(pivots[..., :size], -1, 0), odd, shift
