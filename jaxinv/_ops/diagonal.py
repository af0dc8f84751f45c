"""Inverse, solution and determinant of diagonal matrices, and determinants of triangles, elementwise.

XLA makes one loop of them and differentiates them. What failed is marked by adding NaN, which leaves the
derivatives alone.
"""

import jax
from jax import numpy as jnp

from jaxinv._ops.floating_point import compute_dtype, frexp, nan, power_of_two, scaled_pivot
from jaxinv._ops.structure import bad_column, diagonal, marked_diagonal, reads


def inverse(a: jax.Array, *, with_info: bool, with_det: bool) -> list[jax.Array]:
    """Results as those of the operation `inverse`."""
    wide = a.astype(compute_dtype(a.dtype))
    info = bad_column(wide, "diagonal")
    scale, pivot = scaled_pivot(diagonal(wide))
    x = jnp.where(reads(wide, "diagonal"), (scale / pivot)[..., None, :], 0) + _mark(info, wide.dtype)
    out = [x.astype(a.dtype)]
    if with_info:
        out.append(info)
    if with_det:
        out += determinant(wide, "diagonal")
    return out


def solve(a: jax.Array, b: jax.Array, *, with_info: bool) -> list[jax.Array]:
    """x with a x = b for a and b of as many dimensions, and info where asked for; both broadcast."""
    info = bad_column(a, "diagonal")
    scale, pivot = scaled_pivot(diagonal(a)[..., None])
    x = b * scale / pivot + _mark(info, a.dtype)
    return [x, jnp.broadcast_to(info, x.shape[:-2])] if with_info else [x]


def determinant(a: jax.Array, structure: str) -> list[jax.Array]:
    """Mantissa and exponent of the product of the diagonal, with derivatives at zeros too."""
    marked = marked_diagonal(a, structure)
    failed = jnp.any(jnp.isnan(marked), axis=-1)
    mantissa, exponent = _split(diagonal(a))
    while mantissa.shape[-1] > 1:
        # Halves, by one where the number is odd; every product brought back near 1.
        n = mantissa.shape[-1]
        rest = mantissa[..., n - n % 2 :], exponent[..., n - n % 2 :]
        product, e = _split(mantissa[..., : n // 2] * mantissa[..., n // 2 : n - n % 2])
        e = exponent[..., : n // 2] + exponent[..., n // 2 : n - n % 2] + e
        mantissa, exponent = (jnp.concatenate(p, axis=-1) for p in ((product, rest[0]), (e, rest[1])))
    if mantissa.shape[-1] == 0:
        return [jnp.ones_like(failed, a.dtype), jnp.zeros_like(failed, jnp.int32)]
    return [mantissa[..., 0] * jnp.where(failed, nan(a.dtype), 1), exponent[..., 0]]


def _split(z):
    """frexp, but zeros are left as they are: their derivatives would be multiplied by the power of two."""
    _, e = frexp(jnp.where(z == 0, 1, z))
    return z * power_of_two(-e, jnp.finfo(z.dtype)).astype(z.dtype), e


def _mark(info, dtype):
    return jnp.where(info == 0, 0, nan(dtype))[..., None, None]
