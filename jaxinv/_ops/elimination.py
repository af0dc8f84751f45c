"""Portable batched LU with partial pivoting and substitution, in plain jax.numpy.

Rolled loops over panels of columns and the steps inside them, the rest by matrix products over the whole
matrix: products that shrink with the panel would have to be unrolled, and compile for seconds. Not XLA's own
`lu` and `triangular_solve`: what they make of a NaN or a zero pivot depends on the library behind them.
"""

import jax
from jax import lax
from jax import numpy as jnp

from jaxinv._ops.floating_point import first_bad_step, magnitude, nan, scaled_pivot
from jaxinv._ops.triple_product import dot

_SINGLE_PANEL = 64  # below, the whole matrix is one panel
_PANEL = 32  # columns per panel


def lu(a: jax.Array, positive: bool = False) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Factors a (..., n, n): a[permutation] = L U. Returns L and U in one, permutation, info, pivots.

    As LAPACK's getrf: L has a unit diagonal, ties of the pivot search take the lowest row as rows then stand.
    A matrix whose info is not 0 gets factors of NaN. pivots: (n, ...). `positive`: a is Hermitian and has
    to be positive definite; no rows are exchanged, L D Lᴴ in the form of L U, and info is the order of the
    first leading minor that is not positive.
    """
    size, batch = a.shape[-1], a.shape[:-2]
    if size == 0:
        return (
            a,
            jnp.zeros((*batch, 0), jnp.int32),
            jnp.zeros(batch, jnp.int32),
            jnp.zeros((0, *batch), a.dtype),
        )
    panels, width = _panels(size)
    # The added rows are zero in the columns of A and stand below its own: no search takes them.
    a = _pad(a, panels * width)
    n = a.shape[-1]
    index = jnp.arange(n, dtype=jnp.int32)
    a = jnp.where(index < n, a, 0)  # typed by the mesh in use, as what it will meet: a loop keeps its types

    def block(p, carry):
        a, place, pivots = carry
        start, stop = p * width, (p + 1) * width
        panel = lax.dynamic_slice_in_dim(a, start, width, -1)
        panel, place, panel_pivots = _eliminate(panel, place, start, positive)
        if panels > 1:
            order = _rows_at(place, start + index[:width])
            top = _substitute_block(_take_rows(panel, order), _take_rows(a, order), True, True)
            mine = _take_rows(top, jnp.clip(place - start, 0, width - 1))
            later = (place >= stop)[..., None]
            updated = a - dot(jnp.where(later, panel, 0), top)
            updated = jnp.where(later, updated, jnp.where((place >= start)[..., None], mine, a))
            a = jnp.where(index >= stop, updated, a)
        a = lax.dynamic_update_slice_in_dim(a, panel, start, a.ndim - 1)
        return a, place, lax.dynamic_update_slice_in_dim(pivots, panel_pivots, start, 0)

    place = jnp.zeros_like(a[..., 0], jnp.int32)
    place = place + lax.expand_dims(index, range(len(batch)))
    init = a, place, jnp.moveaxis(jnp.zeros_like(a[..., 0]), -1, 0)
    a, place, pivots = lax.fori_loop(jnp.int32(0), jnp.int32(panels), block, init)
    permutation = _rows_at(place, index)
    a = _take_rows(a, permutation)[..., :size, :size]
    pivots = pivots[:size]
    info = first_bad_step(pivots, positive)
    return jnp.where((info == 0)[..., None, None], a, nan(a.dtype)), permutation[..., :size], info, pivots


def is_odd(permutation: jax.Array) -> jax.Array:
    """Whether each permutation (..., n) is odd: by its inversions."""
    index = jnp.arange(permutation.shape[-1], dtype=jnp.int32)
    inverted = permutation[..., :, None] > permutation[..., None, :]
    after = lax.expand_dims(index[:, None] < index[None, :], range(permutation.ndim - 1))
    return jnp.sum(inverted & after, axis=(-2, -1), dtype=jnp.int32) % 2 == 1


def lu_solve(lu: jax.Array, permutation: jax.Array, b: jax.Array, transpose: bool) -> jax.Array:
    """Solves op(a) x = b for the factors of a; NaN for factors of NaN."""
    if lu.shape[-1] == 0:
        return b
    index = jnp.arange(lu.shape[-1], dtype=jnp.int32)
    b = like_factors(lu, b)
    if transpose:
        x = substitute(jnp.matrix_transpose(lu), b, lower=True, unit=False)
        x = substitute(jnp.matrix_transpose(lu), x, lower=False, unit=True)
        x = _take_rows(x, _rows_at(permutation, index))
    else:
        x = substitute(lu, _take_rows(b, permutation), lower=True, unit=True)
        x = substitute(lu, x, lower=False, unit=False)
    return jnp.where(jnp.isnan(lu[..., :1, :1]), nan(b.dtype), x)


def like_factors(t: jax.Array, b: jax.Array) -> jax.Array:
    """b sharded, or varying over a mesh, as the factors t and the mesh in use: a loop keeps its types."""
    index = jnp.arange(t.shape[-1], dtype=jnp.int32)
    return jnp.where(index[:, None] < t.shape[-1], b + jnp.zeros_like(t[..., :1]), 0)


def _panels(n: int) -> tuple[int, int]:
    """How many panels, and columns of each; the last may end behind the matrix."""
    panels = -(-n // _PANEL) if n >= _SINGLE_PANEL else 1
    return panels, -(-n // panels)


def _pad(a: jax.Array, n: int) -> jax.Array:
    """diag(a, I) of size n."""
    size = a.shape[-1]
    if n == size:
        return a
    rank = a.ndim - 2
    identity = jnp.diag((jnp.arange(n) >= size).astype(a.dtype))
    return jnp.pad(a, [(0, 0)] * rank + [(0, n - size)] * 2) + lax.expand_dims(identity, range(rank))


def _rows_at(place: jax.Array, wanted: jax.Array) -> jax.Array:
    """The rows whose place (..., n) is the wanted one. jnp.argsort loses the type of a varying operand."""
    at = place[..., None, :] == lax.expand_dims(wanted[:, None], range(place.ndim - 1))
    return lax.argmax(at, at.ndim - 1, jnp.int32)


def _take_rows(a: jax.Array, order: jax.Array) -> jax.Array:
    return jnp.take_along_axis(a, order[..., None], axis=-2, mode="promise_in_bounds")


def substitute(t: jax.Array, b: jax.Array, *, lower: bool, unit: bool) -> jax.Array:
    """Solves t x = b for the lower or upper triangle of t (..., n, n), its diagonal 1 where `unit`."""
    size = t.shape[-1]
    panels, width = _panels(size)
    if panels == 1:
        return _substitute_block(t, b, lower, unit)
    t = _pad(t, panels * width)
    b = jnp.pad(b, [(0, 0)] * (b.ndim - 2) + [(0, t.shape[-1] - size), (0, 0)])
    index = jnp.arange(t.shape[-1], dtype=jnp.int32)[:, None]

    def step(s, x):
        start = (s if lower else panels - 1 - s) * width
        columns = lax.dynamic_slice_in_dim(t, start, width, -1)
        diagonal = lax.dynamic_slice_in_dim(columns, start, width, -2)
        solved = _substitute_block(diagonal, lax.dynamic_slice_in_dim(x, start, width, -2), lower, unit)
        rest = index >= start + width if lower else index < start
        x = jnp.where(rest, x - dot(columns, solved), x)
        return lax.dynamic_update_slice_in_dim(x, solved, start, x.ndim - 2)

    return lax.fori_loop(jnp.int32(0), jnp.int32(panels), step, b)[..., :size, :]


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
        rest = (index > i if lower else index < i)[:, None]
        # What crosses a barrier is stored once, where XLA would compute it again for every element.
        row = lax.optimization_barrier(row)
        return jnp.where((index == i)[:, None], row, jnp.where(rest, x - column * row, x))

    return lax.fori_loop(jnp.int32(0), jnp.int32(n), step, b)


def _eliminate(panel, place, start, positive):
    """LU of panel (..., n, w), the columns from `start` on; rows are left where they are.

    place: where each row stands; it has had its step when that is below `start`. Pivot rows keep what they
    are; the rows below hold their multipliers left of the diagonal. Returns panel, places, pivots (w, ...).
    """
    n, w = panel.shape[-2:]
    index = jnp.arange(w, dtype=jnp.int32)

    def step(t, carry):
        panel, place, pivots = carry
        k = start + t
        column = lax.dynamic_index_in_dim(panel, t, -1, keepdims=False)
        if positive:
            at = jnp.full_like(place[..., :1], k)
        else:
            size = jnp.where(place < k, -1, magnitude(column))
            largest = jnp.max(size, axis=-1, keepdims=True)
            at = jnp.min(jnp.where(size == largest, place, n), axis=-1, keepdims=True)
        hot = place == at
        row = jnp.sum(jnp.where(hot[..., None], panel, 0), axis=-2)
        place = jnp.where(hot, k, jnp.where(place == k, at, place))
        pivot = lax.dynamic_index_in_dim(row, t, -1)
        pivots = lax.dynamic_update_index_in_dim(pivots, pivot[..., 0], t, 0)
        scale, scaled = scaled_pivot(pivot)
        below = place > k
        factor = jnp.where(below, column * scale / scaled, 0)
        row = jnp.where(index > t, row, 0)
        row, factor = lax.optimization_barrier((row, factor))
        updated = panel - factor[..., None] * row[..., None, :]
        here = lax.expand_dims(index == t, range(below.ndim)) & below[..., None]
        return jnp.where(here, factor[..., None], updated), place, pivots

    init = panel, place, jnp.moveaxis(jnp.zeros_like(panel[..., 0, :]), -1, 0)
    return lax.fori_loop(jnp.int32(0), jnp.int32(w), step, init)
