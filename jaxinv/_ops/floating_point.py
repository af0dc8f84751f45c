"""Floating-point numbers taken apart: powers of two, pivots, determinants that leave no range on the way."""

import math

import jax
from jax import lax
from jax import numpy as jnp


def power_of_two(exponent: jax.Array, real) -> jax.Array:
    """2**exponent, exactly (exp2 is not exact on every platform), for exponents of normal numbers."""
    bits = (exponent + (real.maxexp - 1)).astype(f"int{real.bits}") << real.nmant
    return lax.bitcast_convert_type(bits, real.dtype)


def nan(dtype) -> jax.Array:
    """What a failed matrix is filled with; both parts of a complex number."""
    return jnp.full(
        (), complex(math.nan, math.nan) if jnp.issubdtype(dtype, jnp.complexfloating) else math.nan, dtype
    )


def magnitude(z: jax.Array) -> jax.Array:
    """What the pivot search compares; NaN counts as the largest."""
    size = jnp.abs(z.real) + jnp.abs(z.imag) if jnp.iscomplexobj(z) else jnp.abs(z)
    return jnp.where(jnp.isnan(size), jnp.inf, size)


def largest_component(z: jax.Array) -> jax.Array:
    """|z|, or the larger of |re| and |im|."""
    return jnp.maximum(jnp.abs(z.real), jnp.abs(z.imag)) if jnp.iscomplexobj(z) else jnp.abs(z)


def frexp(z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """z = m · 2**e with the larger component of m in [sqrt(1/2), sqrt(2)); normal numbers only.

    At the upper end of the range, in [sqrt(1/2), 4): the power of two has to be normal one way and back.
    """
    real = jnp.finfo(z.dtype)
    size = largest_component(z)
    bits = lax.bitcast_convert_type(size, f"int{real.bits}")
    e = (bits >> real.nmant).astype(jnp.int32) - (real.maxexp - 1)
    e = jnp.clip(e, real.minexp + 1, real.maxexp - 2)
    scale = power_of_two(-e, real)
    up = (size * scale >= math.sqrt(2)) & (e < real.maxexp - 2)
    return z * jnp.where(up, scale / 2, scale).astype(z.dtype), e + up.astype(jnp.int32)


def scaled_pivot(pivot: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(s, s · pivot), s the power of two that brings it near 1: no reciprocal over- or underflows."""
    scaled, e = frexp(pivot)
    return power_of_two(-e, jnp.finfo(pivot.dtype)).astype(pivot.dtype), scaled


def scale_down(largest: jax.Array, dtype) -> tuple[jax.Array, jax.Array]:
    """(shift, 2**-shift) for matrices of that largest component: zero but near the largest number.

    There sums of products would overflow, or steps towards the small inverse underflow, where neither
    the matrix nor its inverse does.
    """
    real = jnp.finfo(dtype)
    large = largest > 2.0 ** (real.maxexp - 18)
    shift = jnp.where(large, real.maxexp // 8, 0).astype(jnp.int32)
    return shift, power_of_two(-shift, real).astype(dtype)


def ldexp(mantissa: jax.Array, exponent: jax.Array) -> jax.Array:
    """mantissa · 2**exponent, rounded once: two exact powers of two, the second of which may round."""
    real = jnp.finfo(mantissa.dtype)
    # Beyond these exponents the result is 0 or inf whatever the mantissa, which lies in [1/2, 2).
    exponent = jnp.clip(exponent, 2 * real.minexp, 2 * real.maxexp - 2)
    half = exponent // 2
    first, second = (power_of_two(e, real).astype(mantissa.dtype) for e in (half, exponent - half))
    return mantissa * first * second


def compute_dtype(dtype):
    """Arithmetic of half types is done in float32."""
    return jnp.dtype(jnp.float32) if dtype in (jnp.float16, jnp.bfloat16) else jnp.dtype(dtype)


def first_bad_step(pivots: jax.Array, positive: bool = False) -> jax.Array:
    """LAPACK's info: the first (1-based) step whose pivot is 0 or not finite, else 0. pivots: (n, ...).

    `positive`: pivots that are not positive are bad too.
    """
    bad = (~(pivots.real > 0) if positive else pivots == 0) | ~jnp.isfinite(pivots)
    step = lax.broadcasted_iota(jnp.int32, pivots.shape, 0)
    n = pivots.shape[0]
    first = jnp.min(jnp.where(bad, step, n), axis=0, initial=n)
    return jnp.where(first == n, 0, first + 1)


def determinant_of_pivots(a, pivots, odd, shift, info) -> tuple[jax.Array, jax.Array]:
    """Mantissa and exponent of the determinant of a (..., n, n), of which 2**-shift · a was eliminated.

    The larger component of a finite non-zero mantissa lies in [sqrt(1/2), sqrt(2)), so that the logarithm
    of a determinant near 1 does not cancel. pivots: (n, ...); odd: whether the row permutation is.
    """
    n = a.shape[-1]

    def times(k, carry):
        mantissa, exponent, zero = carry
        pivot = lax.dynamic_index_in_dim(pivots, k, keepdims=False)
        pivot, e = frexp(pivot)
        mantissa, f = frexp(mantissa * pivot)
        return mantissa, exponent + e + f, zero | ((pivot == 0) & (k + 1 == info))

    sign = jnp.where(odd, -1, 1).astype(a.dtype)
    init = sign, jnp.zeros_like(info), jnp.zeros_like(odd)
    mantissa, exponent, zero = lax.fori_loop(jnp.int32(0), jnp.int32(n), times, init)
    zero &= jnp.all(jnp.isfinite(a), axis=(-2, -1))
    mantissa = jnp.where(info == 0, mantissa, jnp.where(zero, jnp.zeros((), a.dtype), nan(a.dtype)))
    return mantissa, jnp.where(info == 0, exponent + n * shift, 0)
