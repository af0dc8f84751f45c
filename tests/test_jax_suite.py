"""What JAX's own test suite asks of `jnp.linalg`: inv, solve, det and slogdet, ours in their place."""

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


@pytest.mark.unoptimised
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


@pytest.mark.parametrize("dtype", _DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize(
    ("lhs", "rhs"),
    [
        ((1, 1), (1, 1)),
        ((4, 4), (4,)),
        ((8, 8), (8, 4)),
        ((2, 2), (3, 2, 2)),
        ((2, 1, 3, 3), (1, 4, 3, 4)),
        ((1, 0, 0), (1, 0, 2)),
    ],
    ids=str,
)
def test_solve(lhs, rhs, dtype):
    a = _invertible(lhs, dtype) if lhs[-1] else np.zeros(lhs, dtype)
    b = normal(rng_for(rhs), rhs, np.dtype(dtype)).astype(dtype)
    x, expected = jaxinv.solve(a, b), np.linalg.solve(a, b)
    assert x.shape == expected.shape and x.dtype == expected.dtype
    gate = 1e4 * np.finfo(dtype).eps * np.max(np.linalg.cond(a), initial=1) if lhs[-1] else 1
    np.testing.assert_allclose(x, expected, rtol=0, atol=gate * np.max(np.abs(expected), initial=1))
    np.testing.assert_array_equal(jax.jit(jaxinv.solve)(a, b), x)


@pytest.mark.parametrize(
    "shape", [(0, 0), (1, 1), (3, 3), (4, 4), (10, 10), (2, 2, 2), (2, 3, 3), (3, 2, 2)], ids=str
)
@pytest.mark.parametrize("dtype", _DTYPES, ids=lambda d: np.dtype(d).name)
def test_det_and_slogdet(shape, dtype):
    a = normal(rng_for("det", shape), shape, np.dtype(dtype)).astype(dtype)
    tolerance = 1e-2 if np.finfo(dtype).bits == 32 else 1e-9
    np.testing.assert_allclose(jaxinv.det(a), np.linalg.det(a), rtol=tolerance)
    methods = (None, "lu", "qr") if np.dtype(dtype).kind == "f" else (None, "lu")
    for method in methods if shape[-1] else (None,):
        for got, expected in zip(jaxinv.slogdet(a, method=method), np.linalg.slogdet(a), strict=True):
            assert got.shape == expected.shape and got.dtype == expected.dtype
            np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def test_det_of_singular_matrices():
    # Cases of jax's testDetGradIssue6121, testDetGradIssue3383 and testDetGradOfSingularMatrixCorank{1,2}.
    def f(x):
        return jnp.sum(jnp.square(jaxinv.det(x)))

    batch = jnp.array([jnp.eye(3), jnp.zeros((3, 3))])
    np.testing.assert_allclose(jax.grad(f)(batch), [2 * np.eye(3), np.zeros((3, 3))], rtol=0, atol=1e-12)
    one = jnp.array([[0.0, 1.0], [0.0, 1.0]])
    np.testing.assert_allclose(jax.grad(jaxinv.det)(one), [[1, 0], [-1, 0]], rtol=0, atol=1e-12)
    corank_1 = jnp.array([[50.0, -30, 45], [-30, 90, -81], [45, -81, 81]])
    corank_2 = jnp.diag(jnp.arange(3.0) // 2)
    check_grads(jaxinv.det, (corank_1,), 1, ("fwd", "rev"), atol=1e-1, rtol=1e-1)
    check_grads(jaxinv.det, (corank_2,), 2, ("fwd", "rev"), atol=1e-6, rtol=1e-6)


def test_slogdet_of_a_singular_matrix_and_its_gradient():
    # jax's test1x1 of slogdet and its case of a matrix of zeros.
    sign, logabsdet = jaxinv.slogdet(np.zeros((2, 2)))
    assert sign == 0 and logabsdet == -np.inf
    gradient = jax.grad(lambda a: jaxinv.slogdet(a)[1])(np.array([[2.0]]))
    np.testing.assert_allclose(gradient, [[0.5]])
