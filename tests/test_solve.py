"""solve and solve_ex: accuracy, shapes as NumPy 2 has them, derivatives, one factorisation, equal bits."""

import math

import jax
import matrices
import numpy as np
import pytest
from jax import numpy as jnp
from jax.test_util import check_grads
from matrices import DTYPES, transpose
from solutions import assert_solution
from test_derivatives import count

import jaxinv
from jaxinv._ops.lu import lu_factor, lu_solve

_SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in (7, 9, 15, 24, 31, 32, 47, 64, 70, 100, 200)]
SIZES = (0, 1, 2, 3, 4, 5, 8, 16, 17, 33, 65, 130, *_SLOW)


def rhs(shape, dtype, seed=0):
    return matrices.normal(matrices.rng_for("rhs", shape, seed), shape, np.dtype(dtype)).astype(dtype)


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.portable(n=(3, 40), dtype=("complex128", "bfloat16"))
@pytest.mark.thinned("n", "dtype")
def test_generators(path, n, dtype, flushes):
    names, a = matrices.generate(n, DTYPES[dtype], 4 if n < 40 else 2)
    b = rhs((*a.shape[:-1], 3), DTYPES[dtype])
    x, info = jaxinv.solve_ex(a, b)
    assert x.dtype == a.dtype and not info.any()
    assert_solution(a, b, np.asarray(x), names, flushes and path == "portable")
    np.testing.assert_array_equal(jaxinv.solve(a, b), x)


@pytest.mark.parametrize("columns", (0, 1, 16, 17, 130))
@pytest.mark.parametrize("n", (1, 5, 16, 17, 40))
@pytest.mark.parametrize("dtype", ("float32", "complex64"))
@pytest.mark.thinned("n", "columns", every=2)
def test_numbers_of_right_hand_sides(n, columns, dtype):
    a = matrices.well_conditioned((3, n, n), DTYPES[dtype])
    b = rhs((3, n, columns), DTYPES[dtype])
    assert_solution(a, b, np.asarray(jaxinv.solve(a, b)))


@pytest.mark.parametrize(
    ("a_shape", "b_shape"),
    [
        ((3, 3), (3,)),
        ((2, 3, 3), (3,)),
        ((2, 3, 3), (3, 4)),
        ((2, 3, 3), (2, 3, 1)),
        ((3, 3), (5, 3, 2)),
        ((2, 1, 3, 3), (5, 3, 2)),
        ((1, 4, 3, 3), (5, 1, 3, 2)),
        ((1, 3, 3), (4, 3, 2)),
        ((4, 3, 3), (1, 3, 2)),
        ((0, 3, 3), (3, 2)),
        ((3, 3), (0, 3, 2)),
        ((2, 20, 20), (20,)),
        ((20, 20), (2, 3, 20, 1)),
        ((2, 1, 20, 20), (1, 3, 20, 2)),
        ((3, 3, 3), (3, 3)),
        ((0, 0), (0,)),
        ((2, 0, 0), (0, 3)),
    ],
    ids=str,
)
def test_shapes_are_those_of_numpy_2(path, a_shape, b_shape):
    a = matrices.well_conditioned(a_shape, np.float64)
    b = rhs(b_shape, np.float64)
    vector = len(b_shape) == 1
    batch = np.broadcast_shapes(a_shape[:-2], () if vector else b_shape[:-2])
    full = np.broadcast_to(a, (*batch, *a_shape[-2:]))
    expected = np.linalg.solve(full, b[:, None])[..., 0] if vector else np.linalg.solve(full, b)
    x, info = jaxinv.solve_ex(a, b)
    assert x.shape == expected.shape and info.shape == batch
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind_a", [*DTYPES, "int32", "bool"])
@pytest.mark.parametrize("kind_b", [*DTYPES, "int8"])
@pytest.mark.thinned("kind_a", "kind_b", every=2)
def test_dtypes_promote_as_in_jax(kind_a, kind_b):
    a, b = jnp.eye(2, dtype=kind_a), jnp.ones((2, 1), kind_b)
    x = jaxinv.solve(a, b)
    expected = jnp.result_type(a, b)
    assert x.dtype == (expected if jnp.issubdtype(expected, jnp.inexact) else jnp.result_type(float))
    np.testing.assert_array_equal(x.astype(complex), b.astype(complex))


def test_strict_promotion():
    a, b = matrices.well_conditioned((2, 20, 20), np.float32), rhs((2, 20, 1), np.float32)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        for n in (3, 20):
            out = jax.jit(lambda a, b: jax.jvp(jaxinv.solve, (a, b), (a, b)))(a[:, :n, :n], b[:, :n])
            assert all(x.dtype == np.float32 for x in jax.tree.leaves(out))
            jaxinv.det(a[:, :n, :n]), jaxinv.slogdet(a[:, :n, :n]), jaxinv.inv_rows(a[:, :n, :n], 2)
            jax.jit(jax.grad(lambda a: jaxinv.det(a).sum())).lower(a[:, :n, :n])


@pytest.mark.parametrize(
    ("n", "dtype"), [(1, "float64"), (3, "complex128"), (16, "float64"), (17, "complex128"), (40, "float64")]
)
@pytest.mark.portable(n=(16,))
@pytest.mark.unoptimised
def test_check_grads(path, n, dtype):
    a = matrices.well_conditioned((2, n, n), DTYPES[dtype], kappa=3)
    options = {"modes": ("fwd", "rev"), "eps": 1e-5, "atol": 1e-6 * n, "rtol": 1e-6}
    check_grads(jaxinv.solve, (a, rhs((2, n, 3), a.dtype)), order=2, **options)
    if np.iscomplexobj(a):
        check_grads(jaxinv.solve, (a, rhs((n,), a.dtype)), order=1, **options)
        shared = a[0], rhs((4, n, 1), a.dtype)
        check_grads(lambda a, b: jaxinv.solve_ex(a, b).x, shared, order=2, **options)


@pytest.mark.parametrize("dtype", ("float32", "complex64", "float64", "bfloat16"))
@pytest.mark.parametrize("n", (1, 2, 3, 8, 16, 17, 40))
@pytest.mark.portable(n=(17,), dtype=("complex64",))
@pytest.mark.thinned("n", "dtype", every=2)
def test_first_derivatives(path, n, dtype):
    dtype = DTYPES[dtype]
    a = matrices.well_conditioned((3, n, n), dtype)
    da = matrices.well_conditioned((3, n, n), dtype, seed=1)
    b, db, g = (rhs((3, n, 2), dtype, seed) for seed in range(3))
    _, dx = jax.jit(lambda *x: jax.jvp(jaxinv.solve, x[:2], x[2:]))(a, b, da, db)
    ga, gb = jax.jit(lambda a, b, g: jax.vjp(jaxinv.solve, a, b)[1](g))(a, b, g)
    wide = [v.astype(matrices.wide_dtype(dtype)) for v in (a, b, da, db, g)]
    a, b, da, db, g = wide
    x, y = np.linalg.solve(a, b), np.linalg.solve(transpose(a), g)
    gate = 100 * n * 10 * matrices.eps(dtype) + 4 * matrices.ulp(dtype) * matrices.is_half(dtype)
    for got, expected, size in (
        (dx, np.linalg.solve(a, db - da @ x), np.abs(db).max() + n * np.abs(x).max()),
        (gb, y, np.abs(g).max()),
        (ga, -y @ transpose(x), np.abs(x).max() * np.abs(y).max()),
    ):
        assert got.dtype == dtype
        error = np.abs(np.asarray(got).astype(np.complex128) - expected).max()
        assert error <= 10 * gate * size, (error, gate * size)


@pytest.mark.parametrize("n", (17, 40))
def test_one_factorisation_forward_and_backward(path, n):
    a, b = matrices.well_conditioned((3, n, n), np.float32), rhs((3, n, 2), np.float32)

    def loss(a, b):
        return jnp.sum(jaxinv.solve(a, b) ** 2)

    def second(a, b):
        return sum(jnp.sum(g**2) for g in jax.grad(loss, argnums=(0, 1))(a, b))

    programs = {
        "value": loss,
        "gradient": jax.grad(loss, argnums=(0, 1)),
        "jvp": lambda a, b: jax.jvp(jaxinv.solve, (a, b), (a, b)),
        "gradient of a gradient": jax.grad(second, argnums=(0, 1)),
        "rows": jax.grad(lambda a, b: jnp.sum(jaxinv.inv_rows(a, 3) ** 2)),
    }
    for name, f in programs.items():
        assert count(jax.make_jaxpr(f)(a, b).jaxpr, "jaxinv_lu_factor") == 1, name
        if path == "native":
            text = jax.jit(f).lower(a, b).compile().as_text()
            assert text.count('custom_call_target="jaxinv_lu_factor"') == 1, name
            assert "getrf" not in text and "trsm" not in text and "jaxinv_inverse" not in text


@pytest.mark.unoptimised
@pytest.mark.parametrize("n", (3, 16, 17, 40))
def test_unbatched_matrix_is_not_broadcast(n):
    a, b = matrices.well_conditioned((n, n), np.float64), rhs((50, n, 2), np.float64)

    def shapes(jaxpr):
        inner = [v.jaxpr for e in jaxpr.eqns for v in e.params.values() if hasattr(v, "jaxpr")]
        own = {v.aval.shape for e in jaxpr.eqns for v in e.outvars}
        return own.union(*map(shapes, inner))

    calls = {
        "vmap": lambda a, b: jax.vmap(jaxinv.solve, (None, 0))(a, b),
        "last axis": lambda a, b: jax.vmap(jaxinv.solve, (None, 2), 2)(a, jnp.moveaxis(b, 0, 2)),
        "broadcast": jaxinv.solve,
        "info": lambda a, b: jax.vmap(jaxinv.solve_ex, (None, 0))(a, b).x,
        "two": lambda a, b: jax.vmap(jax.vmap(jaxinv.solve, (None, 0)), (None, 0))(
            a, b.reshape(5, 10, n, 2)
        ).reshape(b.shape),
    }
    expected = np.linalg.solve(a, b)
    for name, f in calls.items():
        got = f(a, b)
        if name == "last axis":
            got = np.moveaxis(np.asarray(got), 2, 0)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
        matrices_in = [s for s in shapes(jax.make_jaxpr(f)(a, b).jaxpr) if s[-2:] == (n, n)]
        assert all(math.prod(s) == n * n for s in matrices_in), name
    # A right-hand side that matrices share is repeated; both ways differentiate.
    both = jax.vmap(jax.grad(lambda a, b: jaxinv.solve(a, b).sum(), argnums=(0, 1)), (None, 0))
    ga, gb = both(a, b)
    y = np.linalg.solve(a.T, np.ones((n, 2)))
    np.testing.assert_allclose(gb, np.broadcast_to(y, b.shape), rtol=0, atol=1e-11)
    np.testing.assert_allclose(ga, -y @ transpose(expected), rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", ("float32", "float64", "complex64", "complex128"))
@pytest.mark.parametrize("n", (1, 2, 3, 4, 5, 8, 13, 16, 17, 33, 70))
@pytest.mark.thinned("n", "dtype", every=2)
def test_bits_depend_on_nothing_beside(native, n, dtype):
    """Fused or by factors, alone, in a batch or among other right-hand sides: each solution is the same."""
    a, b = matrices.well_conditioned((21, n, n), DTYPES[dtype]), rhs((21, n, 40), DTYPES[dtype])
    for m in (1, 3):
        a[3 * m, :, 0] = np.where(np.arange(n) % 2, 1, -1)  # ties of the first pivot
    full = np.asarray(jaxinv.solve(a, b))
    for columns in (slice(0, 1), slice(3, 10), slice(8, 24), slice(39, 40)):
        part = np.asarray(jaxinv.solve(a, b[..., columns]))
        assert part.tobytes() == full[..., columns].tobytes()
    assert np.asarray(jaxinv.solve(a[9:11], b[9:11])).tobytes() == full[9:11].tobytes()
    for i in (0, 3, 20):
        assert np.asarray(jaxinv.solve(a[i], b[i, :, 2])).tobytes() == full[i, :, 2].tobytes()
        mapped = jax.vmap(jaxinv.solve, (None, 1), 1)(a[i], b[i])
        assert np.asarray(mapped).tobytes() == full[i].tobytes()
    scanned = jax.lax.scan(lambda c, x: (c, jaxinv.solve(*x)), 0, (a, b[..., :2]))[1]
    assert np.asarray(scanned).tobytes() == full[..., :2].tobytes()


@pytest.mark.parametrize("columns", (1, 5, 16, 17, 50))
@pytest.mark.parametrize("dtype", ("float32", "float64", "complex64", "complex128"))
@pytest.mark.portable(dtype=("complex128",), columns=(5,))
@pytest.mark.thinned("dtype", "columns", every=2)
def test_factors_and_their_solutions(path, dtype, columns):
    for n in (1, 2, 3, 7, 16, 17, 33, 70) if path == "native" else (3, 40):
        _, a = matrices.generate(n, DTYPES[dtype], 1)
        a = a[(np.abs(a).max((-2, -1)) < 1e30) & (np.abs(a).max((-2, -1)) > 1e-30)]
        lu, permutation, info = (np.asarray(v) for v in lu_factor(a, structure="general"))
        assert not info.any() and (np.sort(permutation) == np.arange(n)).all()
        lower, upper = np.tril(lu, -1) + np.eye(n), np.triu(lu)
        assert (np.abs(lower) <= (1 if a.dtype.kind == "f" else 2**0.5) * (1 + 8 * matrices.eps(dtype))).all()
        wide = np.clongdouble if a.dtype.kind == "c" else np.longdouble
        product = lower.astype(wide) @ upper.astype(wide)
        size = np.abs(lower).astype(np.longdouble) @ np.abs(upper)
        rows = np.take_along_axis(a, permutation[..., None], -2)
        flushed = float(jnp.finfo(dtype).tiny) if path == "portable" else 0
        assert (np.abs(product - rows) <= 4 * n * matrices.eps(dtype) * size + n * flushed).all()
        b = rhs((*a.shape[:-1], columns), DTYPES[dtype])
        for flag in (False, True):
            (x,) = lu_solve(a, lu, permutation, b, structure="general", transpose=flag)
            assert_solution(transpose(a) if flag else a, b, np.asarray(x), None, bool(flushed))


@pytest.mark.unoptimised
@pytest.mark.parametrize("n", (3, 20))
@pytest.mark.parametrize("transform", ["checkpoint", "scan", "while", "cond", "map", "donate"])
def test_control_flow(n, transform):
    a, b = matrices.well_conditioned((6, n, n), np.float64), rhs((6, n, 2), np.float64)
    expected = np.linalg.solve(a, b)

    def with_while(a, b):
        return jax.lax.while_loop(
            lambda c: c[0] < 1, lambda c: (c[0] + 1, jaxinv.solve(a, b)), (0, jnp.zeros_like(b))
        )[1]

    programs = {
        "checkpoint": jax.checkpoint(jaxinv.solve),
        "scan": lambda a, b: jax.lax.scan(lambda c, x: (c, jaxinv.solve(*x)), 0, (a, b))[1],
        "while": with_while,
        "cond": lambda a, b: jax.lax.cond(a[0, 0, 0] < 9, jaxinv.solve, lambda a, b: b, a, b),
        "map": lambda a, b: jax.lax.map(lambda x: jaxinv.solve(*x), (a, b), batch_size=4),
        "donate": jax.jit(jaxinv.solve, donate_argnums=(0, 1)),
    }
    got = jax.jit(programs[transform])(jnp.array(a), jnp.array(b))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    if transform in ("checkpoint", "scan", "map"):
        ga = jax.grad(lambda a: jnp.sum(programs[transform](a, b)))(a)
        y = np.linalg.solve(transpose(a), np.ones_like(b))
        np.testing.assert_allclose(ga, -y @ transpose(expected), rtol=0, atol=1e-10)


def test_result_types():
    out = jaxinv.solve_ex(np.eye(2), np.ones(2))
    assert type(out) is jaxinv.SolveResult and out._fields == ("x", "info") and out.info.dtype == np.int32
