"""What JAX's own test suite asks of `jnp.linalg.inv`, asked of ours in its place."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from jax.test_util import check_grads
from matrices import assert_inverse, normal, rng_for, well_conditioned

import jaxinv

_SHAPES = [(1, 1), (4, 4), (2, 5, 5), (5, 5, 5), (200, 200)]
_DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


def _invertible(shape, dtype):
    """Random matrices, drawn again where NumPy cannot invert them well."""
    rng = rng_for("invertible", shape, np.dtype(dtype).name)
    while True:
        a = normal(rng, shape, dtype).astype(dtype)
        if np.linalg.cond(a).max() < 1e4:
            return a


@pytest.mark.parametrize("shape", _SHAPES, ids=str)
@pytest.mark.parametrize("dtype", _DTYPES, ids=lambda d: np.dtype(d).name)
def test_agrees_with_numpy_and_with_itself_compiled(shape, dtype):
    a = _invertible(shape, dtype)
    x = jaxinv.inv(a)
    expected = np.linalg.inv(a)
    assert x.shape == expected.shape and x.dtype == expected.dtype
    assert_inverse(a, x)
    np.testing.assert_array_equal(jax.jit(jaxinv.inv)(a), x)
    with jax.disable_jit():
        np.testing.assert_array_equal(jaxinv.inv(a), x)


@pytest.mark.parametrize("shape", _SHAPES[:-1], ids=str)
@pytest.mark.parametrize("dtype", _DTYPES, ids=lambda d: np.dtype(d).name)
def test_gradients(shape, dtype):
    # Differences of a float32 function are good to about the cube root of its precision.
    tolerance = 2e-2 if np.finfo(dtype).bits == 32 else 1e-4
    check_grads(jaxinv.inv, (well_conditioned(shape, dtype),), 2, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", _DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_vmap_over_any_axis(dtype, axis):
    a = _invertible((6, 5, 5), dtype)
    x = jax.vmap(jaxinv.inv, in_axes=axis, out_axes=axis)(np.moveaxis(a, 0, axis))
    assert_inverse(a, np.moveaxis(np.asarray(x), axis, 0))


def test_gradient_under_vmap_is_the_gradient_of_each():
    a = well_conditioned((7, 4, 4), np.float64)
    gradient = jax.grad(lambda x: jnp.sum(jnp.sin(jaxinv.inv(x))))
    each = np.stack([gradient(x) for x in a])
    np.testing.assert_array_equal(jax.vmap(gradient)(a), each)


@pytest.mark.parametrize("shape", [(), (4,), (4, 3), (2, 3, 4)], ids=str)
def test_shapes_that_are_no_square_matrices(shape):
    with pytest.raises(ValueError, match=r"expected square matrices \(\.\.\., n, n\), got shape"):
        jaxinv.inv(np.ones(shape))


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint16, np.bool_], ids=lambda d: np.dtype(d).name)
def test_integers_promote(dtype):
    a = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0]], dtype)
    x = jaxinv.inv(a)
    assert x.dtype == jnp.result_type(float)  # jnp.linalg.inv: float32 for integers of 32 bits and less
    assert_inverse(a.astype(x.dtype), x)


def test_empty_batch_and_empty_matrix():
    assert jaxinv.inv(np.ones((0, 3, 3), np.float32)).shape == (0, 3, 3)
    assert jaxinv.inv(np.ones((2, 0, 0), np.float32)).shape == (2, 0, 0)


def test_replaces_jnp_inside_a_program():
    """A Kalman filter's step, written for jnp.linalg.inv, scanned and differentiated."""

    def run(inv, gain):
        def step(covariance, observed):
            innovation = covariance + gain * jnp.eye(3) + jnp.outer(observed, observed)
            k = covariance @ inv(innovation)
            return (jnp.eye(3) - k) @ covariance + 0.1 * jnp.eye(3), jnp.trace(k)

        observations = jnp.asarray(np.random.default_rng(0).standard_normal((20, 3)))
        return jnp.sum(jax.lax.scan(step, jnp.eye(3), observations)[1])

    ours, theirs = (jax.value_and_grad(functools.partial(run, f))(0.5) for f in (jaxinv.inv, jnp.linalg.inv))
    # Twenty steps of well-conditioned 3 × 3 matrices: some hundreds of roundings.
    np.testing.assert_allclose(ours, theirs, rtol=1e3 * 2**-53)
