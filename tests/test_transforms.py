"""inv and its siblings under every transformation of JAX."""

import chex
import jax
import matrices
import numpy as np
import pytest
from absl.testing import parameterized
from jax import numpy as jnp
from matrices import DTYPES, assert_inverse, transpose

import jaxinv

pytestmark = pytest.mark.unoptimised
FUNCTIONS = (jaxinv.inv, jaxinv.inv_ex, jaxinv.inv_slogdet, jaxinv.inv_det)


def solution(a):
    """Columns of `a` in reverse order as right-hand sides: fused or by factors, as n says."""
    return jaxinv.solve(a, a[..., ::-1])


def all_rows(a):
    return jaxinv.inv_rows(a, slice(None, None, -1))


functions = pytest.mark.parametrize("f", (*FUNCTIONS, solution, all_rows), ids=lambda f: f.__name__)


def assert_same(got, expected, n, scale=1.0):
    """Equal within the rounding of two correct programs at condition number 10."""
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert x.shape == y.shape and x.dtype == y.dtype
        if not jnp.issubdtype(y.dtype, jnp.inexact):
            np.testing.assert_array_equal(x, y)
            continue
        gate = 100 * n * 10 * matrices.eps(y.dtype) * scale
        np.testing.assert_allclose(x, y, rtol=gate, atol=gate * np.max(np.abs(y), initial=0))


@functions
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_jit(f, dtype):
    for n in (0, 1, 3, 9, 33):
        a = matrices.well_conditioned((3, n, n), DTYPES[dtype])
        eager, jitted = f(a), jax.jit(f)(a)
        assert_same(jitted, eager, n)
        inside = jax.jit(lambda a: jax.tree.map(lambda x: x + 0, f(a * 1)))(a)
        assert_same(inside, eager, n)


@functions
@pytest.mark.portable(f=(jaxinv.inv_slogdet, solution))
def test_vmap_over_every_axis(path, f):
    n = 5
    a = matrices.well_conditioned((4, 2, n, n), np.float64)
    expected = f(a)
    for axis in (0, 1, 2, 3, -2):
        moved = np.moveaxis(a, 0, axis)
        assert_same(jax.vmap(f, in_axes=axis)(moved), expected, n)
        # An axis that sits between or behind the matrix dimensions, mapped to the end again.
        out = jax.vmap(f, in_axes=axis, out_axes=-1)(moved)
        assert_same(jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), out), expected, n)


@functions
def test_nested_vmap(f):
    n = 4
    a = matrices.well_conditioned((2, 3, 5, n, n), np.float64)
    expected = f(a)
    nested = jax.vmap(jax.vmap(jax.vmap(f)))
    assert_same(nested(a), expected, n)
    assert_same(jax.jit(nested)(a), expected, n)
    # The outer axis behind the matrix dimensions, the inner one between them.
    moved = np.moveaxis(a[:, :, 0], (0, 1), (3, 1))
    out = jax.vmap(jax.vmap(f, in_axes=1), in_axes=3)(moved)
    assert_same(out, f(a[:, :, 0]), n)


def test_vmap_of_an_empty_batch():
    x = jax.vmap(jaxinv.inv)(np.zeros((0, 3, 3), np.float32))
    assert x.shape == (0, 3, 3) and x.dtype == np.float32


@functions
@pytest.mark.parametrize("transform", ["checkpoint", "scan", "while", "cond", "custom_vjp", "map"])
def test_control_flow(f, transform):
    n = 5
    a = matrices.well_conditioned((6, n, n), np.float64)
    expected = f(a)

    def with_scan(a):
        return jax.lax.scan(lambda carry, x: (carry, f(x)), 0, a)[1]

    def with_while(a):
        init = (0, jax.tree.map(jnp.zeros_like, jax.eval_shape(f, a)))
        return jax.lax.while_loop(lambda c: c[0] < 1, lambda c: (c[0] + 1, f(a)), init)[1]

    def with_cond(a):
        return jax.lax.cond(a[0, 0, 0] < jnp.inf, f, lambda a: jax.tree.map(jnp.zeros_like, f(a)), a)

    with_custom_vjp = jax.custom_vjp(f)
    with_custom_vjp.defvjp(lambda a: jax.vjp(f, a), lambda vjp, ct: vjp(ct))
    programs = {
        "checkpoint": jax.checkpoint(f),
        "scan": with_scan,
        "while": with_while,
        "cond": with_cond,
        "custom_vjp": with_custom_vjp,
        "map": lambda a: jax.lax.map(f, a, batch_size=4),
    }
    assert_same(jax.jit(programs[transform])(a), expected, n)


@pytest.mark.parametrize("n", (3, 9, 40))
@pytest.mark.portable(n=(3,))
def test_gradients_through_control_flow(path, n):
    a = matrices.well_conditioned((4, n, n), np.float64)
    x = matrices.reference(a)
    expected = -2 * transpose(x) @ x @ transpose(x)

    def loss(f):
        return lambda a: jnp.sum(f(a) ** 2)

    def scanned(a):
        return jax.lax.scan(lambda c, m: (c, jaxinv.inv(m)), 0.0, a)[1]

    for f in (
        jaxinv.inv,
        jax.checkpoint(jaxinv.inv),
        scanned,
        jax.vmap(jaxinv.inv),
        jax.vmap(jax.jit(jaxinv.inv)),
    ):
        assert_same(jax.jit(jax.grad(loss(f)))(a), jnp.asarray(expected), n, scale=1000)


def test_newton_by_scan_differentiates_through_every_step(path):
    # x <- x - A(x)^-1 r(x), unrolled by scan, differentiated in a parameter of the equation.
    def solve(p):
        def step(x, _):
            jacobian = jnp.array([[2 * x[0], -1.0], [p, 2 * x[1]]])
            residual = jnp.array([x[0] ** 2 - x[1] - 1, p * x[0] + x[1] ** 2 - 4])
            return x - jaxinv.inv(jacobian) @ residual, None

        return jax.lax.scan(step, jnp.array([1.0, 1.0]), None, length=20)[0]

    p = 1.3
    x = solve(p)
    implicit = -np.linalg.solve([[2 * x[0], -1.0], [p, 2 * x[1]]], [0.0, x[0]])
    np.testing.assert_allclose(jax.jacfwd(solve)(p), implicit, rtol=1e3 * matrices.eps(np.float64))
    np.testing.assert_allclose(jax.jacrev(solve)(p), implicit, rtol=1e3 * matrices.eps(np.float64))


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("n", (1, 3, 9, 33))
@pytest.mark.thinned("n", "dtype", every=2)
def test_donation(n, dtype):
    a = matrices.well_conditioned((5, n, n), DTYPES[dtype])
    expected = np.asarray(jaxinv.inv(a))
    donated = jnp.array(a)
    x = jax.jit(jaxinv.inv, donate_argnums=0)(donated)
    np.testing.assert_array_equal(x, expected)
    # Donated to a gradient whose last use of the inverse is the product that may overwrite it.
    gradient = jax.jit(lambda a: jax.vjp(jaxinv.inv, a)[1](a)[0])
    want = np.asarray(gradient(a))
    np.testing.assert_array_equal(jax.jit(gradient, donate_argnums=0)(jnp.array(a)), want)


@functions
@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.portable(dtype=("complex64", "bfloat16"), f=(jaxinv.inv_slogdet, solution, all_rows))
@pytest.mark.thinned("f", "dtype")
def test_strict_promotion(path, f, dtype):
    def everything(a):
        out, tangent = jax.jvp(f, (a,), (a,))
        real, vjp = jax.vjp(lambda a: [jnp.abs(x).sum() for x in jax.tree.leaves(f(a))[:1]], a)
        return out, tangent, vjp(real)[0]

    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        for n in (0, 1, 3, 5, 20, 65):
            a = matrices.well_conditioned((2, 3, n, n), DTYPES[dtype])
            # Lowering traces the portable path too.
            out, tangent, gradient = jax.jit(everything).lower(a).out_info
            x, dx = jax.tree.leaves(out)[0], jax.tree.leaves(tangent)[0]
            assert {(v.shape, v.dtype) for v in (x, dx, gradient)} == {(a.shape, a.dtype)}


@functions
@pytest.mark.portable(f=(jaxinv.inv_slogdet, solution))
def test_without_jit(path, f):
    a = matrices.well_conditioned((2, 4, 4), np.float32)
    expected = f(a)
    with jax.disable_jit():
        assert_same(f(a), expected, 4)
        assert_same(jax.vmap(f)(a), expected, 4)
        gradient = jax.grad(lambda a: jax.tree.leaves(f(a))[0].sum())(a)
    assert np.isfinite(gradient).all()


@functions
def test_debug_nans_passes_good_matrices_and_stops_at_singular_ones(f):
    a = matrices.well_conditioned((2, 4, 4), np.float32)
    with jax.debug_nans(True):
        assert np.isfinite(jax.tree.leaves(f(a))[0]).all()
        with pytest.raises(FloatingPointError, match="invalid value \\(nan\\) encountered"):
            jax.block_until_ready(f(np.zeros((2, 4, 4), np.float32)))
    assert np.isnan(jax.tree.leaves(f(np.zeros((2, 4, 4), np.float32)))[0]).all()


@pytest.mark.parametrize("x64", [True, False])
@pytest.mark.portable(x64=(False,))
def test_without_64_bit_types(path, x64, flushes):
    @jax.jit
    def everything(a):
        x, vjp = jax.vjp(jaxinv.inv, a)
        return x, vjp(x)[0], jaxinv.inv_det(a).det

    with jax.enable_x64(x64):
        for n in (0, 3, 5, 20):
            a = matrices.well_conditioned((3, n, n), np.float32)
            x, gradient, det = everything(a)
            assert_inverse(a, x, None, flushes)
            assert gradient.dtype == np.float32
            np.testing.assert_allclose(det, np.linalg.det(a.astype(float)), rtol=1000 * max(n, 1) * 2.0**-24)


def test_matmul_precision_of_the_caller_is_not_ours():
    a = matrices.well_conditioned((3, 40, 40), np.float32)
    gradient = jax.grad(lambda a: jnp.sum(jaxinv.inv(a)))
    expected = jax.jit(gradient)(a)
    with jax.default_matmul_precision("bfloat16"):
        assert_same(jax.jit(gradient)(a), expected, 40)
        assert "HIGHEST" in jax.jit(gradient).trace(a).lower(lowering_platforms=("tpu",)).as_text()


@functions
def test_result_is_a_named_tuple_with_the_documented_fields(f):
    fields = {
        "inv_ex": ("inverse", "info"),
        "inv_slogdet": ("inverse", "sign", "logabsdet"),
        "inv_det": ("inverse", "det"),
    }
    out = f(np.eye(2))
    if f.__name__ not in fields:
        assert isinstance(out, jax.Array)
    else:
        assert out._fields == fields[f.__name__] and type(out).__name__ in dir(jaxinv)


class VariantsTest(chex.TestCase, parameterized.TestCase):
    """chex's ways of calling: with and without jit, with and without a device given."""

    @chex.variants(with_jit=True, without_jit=True, with_device=True, without_device=True)
    @parameterized.product(name=[f.__name__ for f in FUNCTIONS], n=(1, 3, 9))
    def test_variants(self, name, n):
        a = matrices.well_conditioned((2, n, n), np.float32)
        out = self.variant(getattr(jaxinv, name))(a)
        chex.assert_tree_all_finite(out)
        chex.assert_shape(jax.tree.leaves(out)[0], a.shape)
        chex.assert_tree_shape_prefix(out, (2,))
        assert_inverse(a, np.asarray(jax.tree.leaves(out)[0]))
