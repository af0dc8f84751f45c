"""lstsq: against NumPy, derivatives of x, residuals and s, NumPy's residuals, NaN rule, bad arguments."""

import jax
import matrices
import numpy as np
import pytest
from jax import numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads
from matrices import DTYPES, normal, of_rank, rng_for, wide_dtype
from test_pinv import COLLECTIVES, OPTIONS

import jaxinv

pytestmark = pytest.mark.unoptimised


def problem(shape, rank, dtype, k=2, kappa=10.0):
    a = of_rank(shape, rank, dtype, kappa).astype(dtype)
    b = normal(rng_for("b", shape), (*shape[:-1], k), dtype).astype(dtype)
    return a, b


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize(("shape", "rank"), [((6, 4), 4), ((4, 6), 4), ((5, 5), 5), ((6, 4), 2), ((1, 1), 1)])
def test_against_numpy(dtype, shape, rank):
    a, b = problem(shape, rank, DTYPES[dtype])
    rcond = 0.05 if matrices.is_half(dtype) else None  # rounding to a half type makes it of full rank
    out = jaxinv.lstsq(a, b, rcond)
    assert out._fields == ("x", "residuals", "rank", "s") and type(out).__name__ in dir(jaxinv)
    kind = matrices.real_dtype(DTYPES[dtype])
    assert out.x.dtype == a.dtype and out.residuals.dtype == out.s.dtype == kind
    aw, bw = (x.astype(wide_dtype(x.dtype)) for x in (a, b))
    x, _, r, s = np.linalg.lstsq(aw, bw, 0.05 if matrices.is_half(dtype) else 1e-5)
    unit = 10 * max(shape) * matrices.eps(dtype) * 10
    unit += 2 * matrices.ulp(DTYPES[dtype]) if matrices.is_half(dtype) else 0
    norm = np.linalg.norm
    p = norm(np.linalg.pinv(aw, 0.05 if matrices.is_half(dtype) else 1e-5))
    assert int(out.rank) == r == rank
    assert norm(np.asarray(out.x).astype(x.dtype) - x) <= unit * p * norm(bw)
    assert norm(np.asarray(out.s).astype(float) - s) <= unit * s[0]
    residuals = norm(bw - aw @ x, axis=0) ** 2
    assert (np.abs(np.asarray(out.residuals).astype(float) - residuals) <= unit * 2 * norm(bw) ** 2 * p).all()


def test_shapes_and_broadcasting():
    a, b = problem((3, 1, 5, 2), 2, np.float64, k=3)
    out = jaxinv.lstsq(a, b[:1].repeat(4, 1))
    assert [v.shape for v in out] == [(3, 4, 2, 3), (3, 4, 3), (3, 1), (3, 1, 2)]
    one = jaxinv.lstsq(a[1, 0], b[0, 0])
    np.testing.assert_allclose(out.x[1, 2], one.x, rtol=0, atol=1e-13)
    vector = jaxinv.lstsq(a, np.ones(5))
    assert [v.shape for v in vector] == [(3, 1, 2), (3, 1, 1), (3, 1), (3, 1, 2)]
    np.testing.assert_allclose(vector.x, jaxinv.lstsq(a, np.ones((5, 1))).x[..., 0], rtol=0, atol=1e-14)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        assert jaxinv.lstsq(a[0, 0], b[0, 0, :, 0]).x.shape == (2,)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (2, 0, 3), (0, 4, 2)], ids=str)
def test_empty(shape):
    *batch, m, n = shape
    out = jaxinv.lstsq(np.zeros(shape), np.ones((*batch, m, 2)))
    np.testing.assert_array_equal(out.x, np.zeros((*batch, n, 2)))
    np.testing.assert_array_equal(out.residuals, np.full((*batch, 2), float(m)))
    np.testing.assert_array_equal(out.rank, np.zeros(batch, int))
    assert out.s.shape == (*batch, min(m, n))


@pytest.mark.parametrize(
    ("kind_a", "kind_b"), [("float32", "int64"), ("int8", "bfloat16"), ("bool", "int32")]
)
def test_an_integer_beside_a_float_takes_the_type_of_the_float(kind_a, kind_b):
    a, b = jnp.eye(3, 2, dtype=kind_a), jnp.ones(3, kind_b)
    out = jaxinv.lstsq(a, b)
    expected = next((k for k in (kind_a, kind_b) if "float" in k), jnp.result_type(float))
    assert {v.dtype for v in (out.x, out.residuals, out.s)} == {jnp.dtype(expected)}
    np.testing.assert_allclose(np.asarray(out.x).astype(float), [1, 1], rtol=1e-6)


def test_numpy_residuals():
    for shape, rank in (((6, 4), 4), ((6, 4), 2), ((4, 4), 4), ((3, 5), 3)):
        for columns in (2, None):
            a, b = problem(shape, rank, np.float64)
            b = b if columns else b[:, 0]
            got, want = jaxinv.lstsq(a, b, numpy_resid=True), np.linalg.lstsq(a, b, 1e-10)
            assert got.residuals.shape == want[1].shape
            np.testing.assert_allclose(got.residuals, want[1], rtol=1e-12)
            np.testing.assert_allclose(got.x, want[0], rtol=0, atol=1e-12)


def test_rcond_is_traced_and_batched():
    a, b = np.diag([1.0, 1e-2, 1e-4]), np.ones(3)
    rcond = np.array([1e-1, 1e-3, 1e-5])
    for out in (jax.jit(jaxinv.lstsq)(a, b, rcond), jax.vmap(jaxinv.lstsq, (None, None, 0))(a, b, rcond)):
        np.testing.assert_array_equal(out.rank, [1, 2, 3])
        np.testing.assert_allclose(out.x, [[1, 0, 0], [1, 1e2, 0], [1, 1e2, 1e4]], rtol=1e-14)
    assert int(jaxinv.lstsq(a, b, -1).rank) == 3  # eps, as NumPy


def floats(a, b):
    x, residuals, _, s = jaxinv.lstsq(a, b)
    return x, residuals, s


def test_check_grads():
    """Of full rank, at constant rank 2, at repeated singular values; s where it is smooth."""
    rng = rng_for("factors")
    problems = []
    for m, n in ((4, 3), (3, 4)):
        b, c = normal(rng, (1, m, 2), np.complex128), normal(rng, (1, 2, n), np.complex128)
        full = np.stack([of_rank((m, n), 3, np.complex128, kappa=3), np.eye(m, n)])
        problems.append((b, c, full, normal(rng, (3, m, 2), np.complex128)))

    def f(problems):
        out = [jaxinv.lstsq(jnp.concatenate([b @ c, full]), y)[:2] for b, c, full, y in problems]
        return out, jaxinv.lstsq(problems[0][2][0], problems[0][3][0]).s

    check_grads(jax.jit(f), (problems,), order=2, rtol=1e-5, **OPTIONS)


def test_rank_one_against_the_closed_form():
    x, y, b, *tangents = rng_for("rank one").standard_normal((6, 30)) / np.sqrt(30)
    b += x  # as much within the range as outside

    def ours(x, y, b):
        return jaxinv.lstsq(jnp.outer(x, y), b)[:2]

    def closed_form(x, y, b):
        return y * (x @ b) / (x @ x) / (y @ y), (b @ b - (x @ b) ** 2 / (x @ x))[None]

    def everything(f):
        def loss(*arguments):
            return sum(jnp.sum(jnp.sin(3 * v)) for v in f(*arguments))

        at = (x, y, b), tuple(tangents)
        return jax.jvp(f, *at), jax.jvp(jax.grad(loss, (0, 1, 2)), *at)

    got, want = (jax.tree.leaves(jax.jit(lambda f=f: everything(f))()) for f in (ours, closed_form))
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=0, atol=1e3 * 2**-53 * np.abs(w).max())


def test_gradient_and_hessian_at_the_identity():
    # jnp's are NaN there. x = A⁻¹ b, so d sum(x) = −1ᵀ dA b.
    b = np.arange(1.0, 5)
    gradient = jax.grad(lambda a: jnp.sum(jaxinv.lstsq(a, b).x))(np.eye(4))
    np.testing.assert_allclose(gradient, -np.ones((4, 1)) * b, rtol=1e-14)
    # d² sum(x) [E, E] = 2 sum(E E b), also where the solver is the body of a scan.
    scanned = jax.hessian(lambda a: jax.lax.scan(lambda c, b: (c, jaxinv.lstsq(a, b).x), 0, b[None])[1].sum())
    e = rng_for("e").standard_normal((4, 4))
    value = np.einsum("ij,ijkl,kl", e, scanned(np.eye(4)), e)
    np.testing.assert_allclose(value, 2 * np.sum(e @ e @ b), rtol=1e-12)
    np.testing.assert_allclose(
        jax.grad(lambda a: jaxinv.lstsq(a, b).s.sum())(np.eye(4)), np.eye(4), atol=1e-14
    )


def test_one_svd_forward_and_backward():
    a, b = problem((4, 3), 3, np.float64)

    def step(a, b):
        x, s = jaxinv.lstsq(a, b)[::3]
        return jnp.sum(x**2) + jnp.sum(s**2)

    text = jax.jit(jax.value_and_grad(step, (0, 1))).lower(a, b).compile().as_text()
    if jax.default_backend() == "cpu":
        assert text.count('custom_call_target="lapack_dgesdd') == 1


@pytest.mark.parametrize("bad", (np.nan, np.inf))
def test_not_finite(bad):
    a, b = problem((4, 5, 3), 3, np.float64)
    clean = jaxinv.lstsq(a, b)
    broken = a.copy()
    broken[1, 0, 2] = bad
    out = jaxinv.lstsq(broken, b)
    for got, want in zip(out, clean, strict=True):
        assert (np.isnan(got[1]) if got.dtype == float else np.asarray(got[1]) == 0).all()
        np.testing.assert_array_equal(np.delete(got, 1, 0), np.delete(want, 1, 0))
    b[2, 3, 1] = bad
    x = jaxinv.lstsq(a, b).x
    assert not np.isfinite(x[2, :, 1]).any()
    np.testing.assert_array_equal(x[2, :, 0], clean.x[2, :, 0])


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
@pytest.mark.parametrize("shape", [(8, 5, 3), (8, 3, 5)], ids=str)
@pytest.mark.thinned("kind", "shape", every=2)
def test_batch_stays_sharded(eight_devices, kind, shape):
    mesh = Mesh(np.array(eight_devices), ("b",), axis_types=(kind,))
    a, b = problem(shape, 3, np.float64)

    def everything(a, b):
        out, vjp = jax.vjp(floats, a, b)
        return out, vjp(out), jax.jvp(floats, (a, b), (a, b))[1]

    with jax.set_mesh(mesh):
        arguments = jax.device_put((a, b), NamedSharding(mesh, P("b")))
        compiled = jax.jit(everything).lower(*arguments).compile()
        got = compiled(*arguments)
    assert not [c for c in COLLECTIVES if c in compiled.as_text()]
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(jax.jit(everything)(a, b)), strict=True):
        assert x.sharding.is_equivalent_to(NamedSharding(mesh, P("b", *[None] * (x.ndim - 1))), x.ndim)
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-11 * max(np.abs(y).max(), 1))


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        ((np.ones(3), np.ones(3)), {}, ValueError, "expected a of shape (..., m, n), got shape (3,)"),
        (
            (np.ones((3, 2)), np.ones(2)),
            {},
            ValueError,
            "expected b of shape (3,) or (..., 3, k), got shape (2,)",
        ),
        (
            (np.ones((3, 2)), np.float64(1)),
            {},
            ValueError,
            "expected b of shape (3,) or (..., 3, k), got shape ()",
        ),
        (
            (np.ones((2, 3, 2)), np.ones((4, 3, 1))),
            {},
            ValueError,
            "expected batch dimensions that broadcast, got (2,) and (4,)",
        ),
        ((np.ones((3, 2)), [1.0, 2, 3]), {}, TypeError, "expected an array, got list"),
        ((np.ones((3, 2)), np.ones(3), 1j), {}, TypeError, "expected rcond to be real, got dtype complex128"),
        (
            (np.ones((2, 3, 2)), np.ones(3)),
            {"numpy_resid": True},
            ValueError,
            "numpy_resid=True needs a single matrix, got shapes (2, 3, 2) and (3,)",
        ),
    ],
)
def test_bad_arguments(arguments, keywords, error, message):
    with pytest.raises(error) as caught:
        jaxinv.lstsq(*arguments, **keywords)
    assert str(caught.value) == f"jaxinv.lstsq: {message}"


def test_numpy_residuals_cannot_be_traced():
    message = "^jaxinv.lstsq: numpy_resid=True makes a shape of values, which cannot be traced"
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda a: jaxinv.lstsq(a, a[:, 0], numpy_resid=True))(np.ones((3, 2)))
