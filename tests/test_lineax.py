"""The solvers for lineax: kinds of operators, transformations, results; in optimistix and diffrax."""

import subprocess
import sys

import jax
import matrices
import numpy as np
import pytest
from jax import numpy as jnp
from jax.test_util import check_grads
from matrices import of_rank, transpose
from solutions import assert_solution
from test_derivatives import count

import jaxinv

lineax = pytest.importorskip("lineax")
from jaxinv.lineax import Direct, PseudoInverse  # noqa: E402  (needs lineax)

pytestmark = pytest.mark.unoptimised


def rhs(n, dtype):
    return matrices.normal(matrices.rng_for("b", n), (n,), np.dtype(dtype)).astype(dtype)


def matrix(a):
    return lineax.MatrixLinearOperator(a)


def function(a):
    return lineax.FunctionLinearOperator(lambda x: a @ x, jax.ShapeDtypeStruct(a.shape[1:], a.dtype))


def jacobian(a):
    return lineax.JacobianLinearOperator(lambda x, _: a @ x, jnp.ones(a.shape[1], a.dtype))


OPERATORS = {
    "matrix": matrix,
    "function": function,
    "jacobian": jacobian,
    "sum": lambda a: matrix(a / 2) + function(a / 2),
    "product": lambda a: matrix(a) @ lineax.IdentityLinearOperator(
        jax.ShapeDtypeStruct(a.shape[1:], a.dtype)
    ),
    "transposed": lambda a: matrix(transpose(a)).T,
}  # fmt: skip


def solve(operator, b, solver=None, **keywords):
    return lineax.linear_solve(operator, b, solver=solver or Direct(), **keywords)


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("n", (1, 20))
def test_operators(kind, dtype, n):
    a, b = matrices.well_conditioned((n, n), dtype), rhs(n, dtype)
    solution = jax.jit(lambda a, b: solve(OPERATORS[kind](a), b))(a, b)
    assert solution.value.dtype == a.dtype and int(solution.stats["info"]) == 0
    assert_solution(a[None], b[None, :, None], np.asarray(solution.value)[None, :, None])


def test_pytrees():
    a = matrices.well_conditioned((5, 5), np.float64)
    one, two = jax.ShapeDtypeStruct((), np.float64), jax.ShapeDtypeStruct((2, 2), np.float64)
    blocks = {
        "u": {"x": a[0, 0], "y": a[0, 1:].reshape(2, 2)},
        "v": {"x": a[1:, 0].reshape(2, 2), "y": a[1:, 1:].reshape(2, 2, 2, 2)},
    }
    operator = lineax.PyTreeLinearOperator(blocks, {"u": one, "v": two})
    b = rhs(5, np.float64)
    tree = {"u": b[0], "v": b[1:].reshape(2, 2)}
    for solver in (Direct(), PseudoInverse()):
        x = solve(operator, tree, solver).value
        got = np.concatenate([x["x"].ravel(), x["y"].ravel()])
        np.testing.assert_allclose(got, np.linalg.solve(a, b), rtol=0, atol=1e-13)


@pytest.mark.parametrize("solver", [Direct(), PseudoInverse()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_transposes_and_conjugates_are_those_of_the_operator(solver, dtype):
    shape = (4, 4) if isinstance(solver, Direct) else (5, 3)
    a = of_rank(shape, min(shape), np.dtype(dtype)).astype(dtype)
    state = solver.init(matrix(a), {})
    dense = {"transpose": transpose(a), "conj": a.conj(), "both": transpose(a).conj()}
    steps = {"transpose": ["transpose"], "conj": ["conj"], "both": ["transpose", "conj"]}
    for name, expected in dense.items():
        changed = state
        for step in steps[name]:
            changed, _ = getattr(solver, step)(changed, {})
        b = rhs(expected.shape[0], dtype)
        x = solver.compute(changed, b, {})[0]
        np.testing.assert_allclose(x, np.linalg.pinv(expected) @ b, rtol=0, atol=1e-13 * 10)


LONG = [pytest.param("float64", marks=pytest.mark.slow), "complex128"]
TAGS = {
    "upper triangular": (lineax.upper_triangular_tag, np.triu),
    "lower triangular": (lineax.lower_triangular_tag, np.tril),
    "diagonal": (lineax.diagonal_tag, lambda a: a * np.eye(a.shape[-1])),
    "pos": (lineax.positive_semidefinite_tag, lambda a: a @ transpose(a).conj()),
}


@pytest.mark.parametrize("dtype", LONG)
@pytest.mark.parametrize("structure", TAGS)
def test_tags(structure, dtype):
    tag, make = TAGS[structure]
    a, b = make(matrices.well_conditioned((5, 5), dtype, kappa=3) + 2 * np.eye(5)), rhs(5, dtype)

    def x(a, b):
        return solve(lineax.MatrixLinearOperator(a, tag), b).value

    expected = np.linalg.solve(a, b)
    np.testing.assert_allclose(x(a, b), expected, rtol=0, atol=1e-13 * np.abs(expected).max())
    changed, _ = Direct().conj(Direct().init(lineax.MatrixLinearOperator(a, tag), {}), {})
    changed, _ = Direct().transpose(changed, {})
    got, want = Direct().compute(changed, b, {})[0], np.linalg.solve(transpose(a).conj(), b)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-13 * np.abs(want).max())
    # What another structure would read is not read; Hermitian matrices from their upper triangle.
    other = np.where(np.triu(a) == 0 if structure == "pos" else a == 0, np.nan, a)
    np.testing.assert_array_equal(x(other, b), x(a, b))
    gradient = jax.grad(lambda b: jnp.sum(jnp.abs(x(a, b)) ** 2))(b)
    want = jax.grad(lambda b: jnp.sum(jnp.abs(jaxinv.solve(a, b)) ** 2))(b)
    np.testing.assert_allclose(gradient, want, rtol=0, atol=1e-11 * np.abs(want).max())
    failed = a * np.where(np.arange(5) == 2, 0, 1)[:, None] * np.where(np.arange(5) == 2, 0, 1)
    out = solve(lineax.MatrixLinearOperator(failed, tag), b, throw=False)
    assert out.result == lineax.RESULTS.singular and int(out.stats["info"]) == 3


@pytest.mark.parametrize("dtype", LONG)
def test_derivatives(dtype):
    a, b = matrices.well_conditioned((3, 3), dtype, kappa=3), rhs(3, dtype)

    def x(a, b):
        return solve(matrix(a), b).value

    check_grads(jax.jit(x), (a, b), order=2, modes=("fwd", "rev"), eps=1e-5, atol=1e-6, rtol=1e-6)

    def loss(solve):
        return lambda a, b: jnp.sum(jnp.abs(solve(a, b)) ** 2)

    got, want = (jax.grad(loss(f), (0, 1))(a, b) for f in (x, jaxinv.solve))
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=0, atol=1e-12 * np.abs(w).max())


def test_vmap_over_operators_and_over_right_hand_sides():
    a = matrices.well_conditioned((6, 20, 20), np.float64)
    b = np.stack([rhs(20, np.float64)] * 6) * np.arange(1, 7)[:, None]

    def x(a, b):
        return solve(matrix(a), b).value

    np.testing.assert_allclose(jax.vmap(x)(a, b), jaxinv.solve(a, b[..., None])[..., 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(jax.vmap(x, (None, 0))(a[0], b), jaxinv.solve(a[0], b.T).T, rtol=0, atol=1e-12)
    gradient = jax.vmap(jax.grad(lambda a, b: x(a, b).sum()))(a, b)
    want = jax.grad(lambda a: jaxinv.solve(a, b[..., None]).sum())(a)
    np.testing.assert_allclose(gradient, want, rtol=0, atol=1e-10)


def test_one_factorisation_for_all():
    a, b = matrices.well_conditioned((20, 20), np.float64), rhs(20, np.float64)

    def x(a, b):
        operator, solver = matrix(a), Direct()
        state = solver.init(operator, {})
        first = solve(operator, b, solver, state=state).value
        return solve(operator, first, solver, state=state).value

    gradient = jax.grad(lambda a, b: x(a, b).sum(), (0, 1))
    assert count(jax.make_jaxpr(gradient)(a, b).jaxpr, "jaxinv_lu_factor") == 1
    np.testing.assert_allclose(x(a, b), np.linalg.solve(a, np.linalg.solve(a, b)), rtol=0, atol=1e-11)


@pytest.mark.parametrize(("bad", "info"), [(0, 2), (np.nan, 2), (np.inf, 2)], ids=str)
def test_singular_operators(bad, info):
    a, b = np.diag([1.0, 2, 3]), np.ones(3)
    a[:, 1] = [0, bad, 0]
    out = solve(matrix(a), b, throw=False)
    assert out.result == lineax.RESULTS.singular and int(out.stats["info"]) == info
    assert np.isnan(out.value).all()
    with pytest.raises(Exception, match="singular"):
        solve(matrix(a), b)
    batch = jax.vmap(lambda a: solve(matrix(a), b, throw=False).value)(np.stack([np.eye(3), a]))
    np.testing.assert_array_equal(batch[0], b)


def test_an_operator_that_is_not_square():
    with pytest.raises(ValueError) as caught:
        solve(matrix(np.ones((3, 2))), np.ones(3))
    message = "jaxinv.lineax.Direct: expected a square operator, got shape (3, 2)"
    assert str(caught.value).splitlines()[0] == message


@pytest.mark.parametrize(
    ("shape", "rank"), [((5, 3), 3), ((3, 5), 3), ((4, 4), 2), ((5, 3), 1), ((3, 3), 0)], ids=str
)
def test_least_squares(shape, rank):
    a = of_rank(shape, rank, np.complex128)
    b = rhs(shape[0], np.complex128)
    out = solve(matrix(a), b, PseudoInverse())
    np.testing.assert_allclose(out.value, np.linalg.pinv(a, rcond=1e-10) @ b, rtol=0, atol=1e-12)
    assert int(out.stats["rank"]) == rank
    large = solve(matrix(a), b, PseudoInverse(rtol=2.0))
    assert int(large.stats["rank"]) == 0 and not large.value.any()


def test_derivatives_of_least_squares_at_constant_rank():
    rng = matrices.rng_for("factors")
    c, d, b = rng.standard_normal((4, 2)), rng.standard_normal((2, 3)), rng.standard_normal(4)

    def x(c, d, b):
        return solve(matrix(c @ d), b, PseudoInverse()).value

    got = jax.jit(jax.jacfwd(x, (0, 1, 2)))(c, d, b)
    backward = jax.jit(jax.jacrev(x, (0, 1, 2)))(c, d, b)
    want = jax.jit(jax.jacfwd(lambda c, d, b: jaxinv.lstsq(c @ d, b).x, (0, 1, 2)))(c, d, b)
    for g, r, w in zip(got, backward, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=0, atol=1e-12 * np.abs(w).max())
        np.testing.assert_allclose(r, w, rtol=0, atol=1e-12 * np.abs(w).max())


def test_importing_jaxinv_imports_no_lineax():
    code = "import sys, jaxinv; assert not {'lineax', 'equinox'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_newton_of_optimistix():
    # Broyden's tridiagonal function (Moré, Garbow & Hillstrom, ACM Trans. Math. Softw. 7, 1981, problem 30).
    optimistix = pytest.importorskip("optimistix")

    def residual(x, _):
        padded = jnp.pad(x, 1)
        return (3 - 2 * x) * x - padded[:-2] - 2 * padded[2:] + 1

    newton = optimistix.Newton(rtol=1e-12, atol=1e-12, linear_solver=Direct())
    solution = jax.jit(lambda x: optimistix.root_find(residual, newton, x).value)(-jnp.ones(20))
    assert np.abs(residual(solution, None)).max() <= 1e-12
    # Least squares of a matrix that is wide: Gauss-Newton takes steps of minimum norm.
    a, b = of_rank((3, 5), 3, np.float64), np.ones(3)
    gauss_newton = optimistix.GaussNewton(rtol=1e-10, atol=1e-10, linear_solver=PseudoInverse())
    fit = optimistix.least_squares(lambda x, _: a @ x - b, gauss_newton, jnp.zeros(5)).value
    np.testing.assert_allclose(fit, np.linalg.pinv(a) @ b, rtol=0, atol=1e-10)


def test_stiff_equation_of_diffrax():
    # Robertson's kinetics at t = 40 (Hairer & Wanner, Solving Ordinary Differential Equations II, IV.10).
    diffrax = pytest.importorskip("diffrax")
    optimistix = pytest.importorskip("optimistix")

    def kinetics(t, y, k):
        slow, fast, back = k[0] * y[0], k[1] * y[1] ** 2, k[2] * y[1] * y[2]
        return jnp.stack([back - slow, slow - fast - back, fast])

    newton = optimistix.Newton(rtol=1e-8, atol=1e-10, linear_solver=Direct())
    solver = diffrax.Kvaerno5(root_finder=newton)

    @jax.jit
    def at_40(k):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(kinetics),
            solver,
            t0=0.0,
            t1=40.0,
            dt0=1e-4,
            y0=jnp.array([1.0, 0, 0]),
            args=k,
            stepsize_controller=diffrax.PIDController(rtol=1e-8, atol=1e-10),
        ).ys[0]

    k = jnp.array([0.04, 3e7, 1e4])
    np.testing.assert_allclose(at_40(k), [0.7158270688, 9.185534765e-6, 0.2841637457], rtol=1e-6)
