"""Portable batched LU with partial pivoting and substitution, in plain jax.numpy.

Panels of columns in a rolled loop, the rest by matrix products. Not XLA's own `lu` and `triangular_solve`:
what they make of a NaN or a zero pivot depends on the library behind them.
"""

import jax
from jax import lax
from jax import numpy as jnp

from jaxinv._ops.floating_point import first_bad_step, magnitude, nan, scaled_pivot
from jaxinv._ops.triple_product import dot

_PANEL = 32  # columns per panel
_PANELS_MAX = 16  # panels are unrolled: many of them would compile for minutes


def _panel_width(n: int) -> int:
    return max(_PANEL, -(-n // _PANELS_MAX))


def lu(a: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Factors a (..., n, n): a[permutation] = L U. Returns L and U in one, permutation, info, pivots.

    As LAPACK's getrf: L has a unit diagonal, ties of the pivot search take the lowest row as rows then stand.
    A matrix whose info is not 0 gets factors of NaN. pivots: (n, ...).
    """
    n, batch = a.shape[-1], a.shape[:-2]
    permutation = jnp.zeros((*batch, n), jnp.int32) + jnp.arange(n, dtype=jnp.int32)
    pivots = [jnp.zeros((0, *batch), a.dtype)]
    width = _panel_width(n)
    for start in range(0, n, width):
        stop = min(start + width, n)
        panel, place, panel_pivots = _eliminate(a[..., start:, start:stop])
        pivots.append(panel_pivots)
        order = jnp.argsort(place, axis=-1)
        panel, rows = _take_rows(panel, order), _take_rows(a[..., start:, :], order)
        tail = jnp.take_along_axis(permutation[..., start:], order, axis=-1, mode="promise_in_bounds")
        permutation = jnp.concatenate([permutation[..., :start], tail], axis=-1)
        w = stop - start
        top = substitute(panel[..., :w, :], rows[..., :w, stop:], lower=True, unit=True)
        bottom = rows[..., w:, stop:] - dot(panel[..., w:, :], top)
        right = jnp.concatenate([top, bottom], axis=-2)
        rows = jnp.concatenate([rows[..., :start], panel, right], axis=-1)
        a = jnp.concatenate([a[..., :start, :], rows], axis=-2)
    all_pivots = jnp.concatenate(pivots)
    info = first_bad_step(all_pivots) if n else jnp.zeros(batch, jnp.int32)
    return jnp.where((info == 0)[..., None, None], a, nan(a.dtype)), permutation, info, all_pivots


def is_odd(permutation: jax.Array) -> jax.Array:
    """Whether each permutation (..., n) is odd: by its inversions."""
    index = jnp.arange(permutation.shape[-1], dtype=jnp.int32)
    inverted = permutation[..., :, None] > permutation[..., None, :]
    after = index[:, None] < index[None, :]
    return jnp.sum(inverted & after, axis=(-2, -1), dtype=jnp.int32) % 2 == 1


def lu_solve(lu: jax.Array, permutation: jax.Array, b: jax.Array, transpose: bool) -> jax.Array:
    """Solves op(a) x = b for the factors of a; NaN for factors of NaN."""
    if b.size == 0:
        return b
    if transpose:
        x = substitute(jnp.matrix_transpose(lu), b, lower=True, unit=False)
        x = substitute(jnp.matrix_transpose(lu), x, lower=False, unit=True)
        x = _take_rows(x, jnp.argsort(permutation, axis=-1))
    else:
        x = substitute(lu, _take_rows(b, permutation), lower=True, unit=True)
        x = substitute(lu, x, lower=False, unit=False)
    return jnp.where(jnp.isnan(lu[..., :1, :1]), nan(b.dtype), x)


def substitute(t: jax.Array, b: jax.Array, *, lower: bool, unit: bool) -> jax.Array:
    """Solves t x = b for the lower or upper triangle of t (..., n, n), its diagonal 1 where `unit`."""
    n = t.shape[-1]
    width = _panel_width(n)
    out = []
    starts = range(0, n, width)
    for start in starts if lower else reversed(starts):
        stop = min(start + width, n)
        w = stop - start
        here = b[..., :w, :] if lower else b[..., -w:, :]
        x = _substitute_block(t[..., start:stop, start:stop], here, lower, unit)
        out.append(x)
        if lower:
            b = b[..., w:, :] - dot(t[..., stop:, start:stop], x)
        else:
            b = b[..., :-w, :] - dot(t[..., :start, start:stop], x)
    return jnp.concatenate(out if lower else out[::-1], axis=-2) if out else b


def _take_rows(a: jax.Array, order: jax.Array) -> jax.Array:
    return jnp.take_along_axis(a, order[..., None], axis=-2, mode="promise_in_bounds")


def _substitute_block(t, b, lower, unit):
    n = t.shape[-1]
    index = jnp.arange(n, dtype=jnp.int32)

    def step(s, x):
        i = s if lower else n - 1 - s
        row = lax.dynamic_index_in_dim(x, i, -2)
        column = lax.dynamic_index_in_dim(t, i, -1)
        if not unit:
            scale, pivot = scaled_pivot(lax.dynamic_index_in_dim(column, i, -2))
            row = row * scale / pivot
        rest = index > i if lower else index < i
        column = jnp.where(rest[:, None], column, 0)
        # What crosses a barrier is stored once, where XLA would compute it again for every element.
        row = lax.optimization_barrier(row)
        return jnp.where((index == i)[:, None], row, x - column * row)

    return lax.fori_loop(jnp.int32(0), jnp.int32(n), step, b)


def _eliminate(panel):
    """LU of panel (..., m, w), its rows left where they are. Returns it, the place of each row, pivots.

    Rows that have been pivots keep what they are; the others hold their multipliers left of the diagonal.
    """
    *batch, m, w = panel.shape
    place = jnp.zeros((*batch, m), jnp.int32) + jnp.arange(m, dtype=jnp.int32)
    column_index = jnp.arange(w, dtype=jnp.int32)

    def step(k, carry):
        panel, place, pivots = carry
        column = lax.dynamic_index_in_dim(panel, k, -1, keepdims=False)
        size = jnp.where(place < k, -1, magnitude(column))
        largest = jnp.max(size, axis=-1, keepdims=True)
        at = jnp.min(jnp.where(size == largest, place, m), axis=-1, keepdims=True)
        hot = place == at
        row = jnp.sum(jnp.where(hot[..., None], panel, 0), axis=-2)
        place = jnp.where(hot, k, jnp.where(place == k, at, place))
        pivot = lax.dynamic_index_in_dim(row, k, -1)
        pivots = lax.dynamic_update_index_in_dim(pivots, pivot[..., 0], k, 0)
        scale, scaled = scaled_pivot(pivot)
        factor = jnp.where(place > k, column * scale / scaled, 0)
        row = jnp.where(column_index > k, row, 0)
        row, factor = lax.optimization_barrier((row, factor))
        updated = panel - factor[..., None] * row[..., None, :]
        here = (column_index == k) & (place > k)[..., None]
        return jnp.where(here, factor[..., None], updated), place, pivots

    init = panel, place, jnp.zeros((w, *batch), panel.dtype)
    return lax.fori_loop(jnp.int32(0), jnp.int32(w), step, init)
