"""What is known of a matrix, and what of it is read.

A structure is "general", "pos upper" or "pos lower" (Hermitian positive definite, by the name of the triangle
that is read), "upper triangular", "lower triangular" or "diagonal". Operations compute with H(a), which it
makes of the entries that it reads; their derivatives apply H to the tangents.
"""

import jax
from jax import lax
from jax import numpy as jnp

from jaxinv._ops import elimination
from jaxinv._ops.floating_point import (
    determinant_of_pivots,
    first_bad_step,
    largest_component,
    nan,
    scale_down,
)
from jaxinv._ops.triple_product import dot

TRIANGULAR = ("upper triangular", "lower triangular")


def is_pos(structure: str) -> bool:
    return structure in ("pos upper", "pos lower")


def view(a: jax.Array, structure: str) -> jax.Array:
    """H(a): the matrix that the entries of a (..., n, n) that are read make. Linear over the reals."""
    if structure == "general":
        return a
    read = reads(a, structure)
    if not is_pos(structure):
        return jnp.where(read, a, 0)
    a = jnp.where(read, a, jnp.matrix_transpose(a).conj())
    return jnp.where(reads(a, "diagonal"), a.real.astype(a.dtype), a) if jnp.iscomplexobj(a) else a


def diagonal(a: jax.Array) -> jax.Array:
    """The diagonal (..., n)."""
    n = a.shape[-1]
    return a.reshape(*a.shape[:-2], n * n)[..., :: n + 1]


def marked_diagonal(a: jax.Array, structure: str) -> jax.Array:
    """The diagonal (..., n) of a, NaN where an entry of the column that is read is not finite."""
    pivots = diagonal(a)
    finite = jnp.isfinite(a) | ~reads(a, structure) if structure in TRIANGULAR else jnp.isfinite(pivots)
    if structure in TRIANGULAR:
        finite = jnp.all(finite, axis=-2)
    return jnp.where(finite, pivots, nan(a.dtype))


def steps(pivots: jax.Array) -> jax.Array:
    """Pivots (..., n) as (n, ...), the form in which eliminations hand them over."""
    return jnp.moveaxis(pivots, -1, 0)


def bad_column(a: jax.Array, structure: str) -> jax.Array:
    """info of triangular and diagonal matrices: the first (1-based) column where that is NaN or 0, else 0."""
    return first_bad_step(steps(marked_diagonal(a, structure)))


def positive_inverse(h: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Inverse, info, and the determinant's mantissa and exponent of Hermitian positive definite h.

    h = L D Lᴴ, h⁻¹ = Wᴴ W with W = D^(-1/2) L⁻¹ (Higham, Accuracy and Stability of Numerical Algorithms,
    14.4): its residual is as small from the left as from the right.
    """
    shift, unscale = scale_down(jnp.max(largest_component(h), axis=(-2, -1)), h.dtype)
    scale = unscale[..., None, None]
    lu, _, info, pivots = elimination.lu(h * scale, positive=True)
    w = elimination.substitute(lu, _identity(lu), lower=True, unit=True)
    w = w * lax.rsqrt(jnp.moveaxis(pivots.real, 0, -1))[..., None].astype(w.dtype)
    x = view(dot(w.conj(), w, transpose_x=True) * scale, "pos upper")
    odd = jnp.zeros_like(info, bool)
    return _failed(x, info), info, *determinant_of_pivots(h, pivots, odd, shift, info)


def triangular_inverse(a: jax.Array, structure: str) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The same of a triangle of a, by substitution: columns of the inverse of a lower one."""
    t = view(a, structure)
    shift, unscale = scale_down(jnp.max(largest_component(t), axis=(-2, -1)), a.dtype)
    scale = unscale[..., None, None]
    pivots = steps(marked_diagonal(t, structure))
    info = first_bad_step(pivots)
    lower = structure == "lower triangular"
    x = elimination.substitute(t * scale, _identity(t), lower=lower, unit=False)
    x = view(x * scale, structure)  # no zeros of negative sign
    odd = jnp.zeros_like(info, bool)
    return _failed(x, info), info, *determinant_of_pivots(t, pivots * unscale[None], odd, shift, info)


def triangular_solve(
    a: jax.Array, b: jax.Array, structure: str, transpose: bool
) -> tuple[jax.Array, jax.Array]:
    """x with op(t) x = b for a triangle t of a, and info."""
    info = bad_column(a, structure)
    if a.shape[-1] == 0:
        return b, info
    t = view(a, structure)
    b = elimination.like_factors(t, b)
    lower = (structure == "lower triangular") != transpose
    x = elimination.substitute(jnp.matrix_transpose(t) if transpose else t, b, lower=lower, unit=False)
    return _failed(x, info), info


def reads(a: jax.Array, structure: str) -> jax.Array:
    """Which entries are read, (1, ..., n, n)."""
    index = jnp.arange(a.shape[-1], dtype=jnp.int32)
    row, column = index[:, None], index[None, :]
    if structure == "diagonal":
        mask = row == column
    else:
        mask = row <= column if "upper" in structure else row >= column
    return lax.expand_dims(mask, range(a.ndim - 2))


def _identity(like: jax.Array) -> jax.Array:
    """Identities of the shape of an array, sharded or varying as that is: loops keep their types."""
    return jnp.where(reads(like, "diagonal"), jnp.ones_like(like), jnp.zeros_like(like))


def _failed(x: jax.Array, info: jax.Array) -> jax.Array:
    return jnp.where((info == 0)[..., None, None], x, nan(x.dtype))
