"""Singular and non-finite matrices: NaN, info and determinants of the table, and untouched neighbours."""

from fractions import Fraction

import jax
import matrices
import numpy as np
import pytest
from jax import numpy as jnp
from jax.experimental import checkify
from matrices import DTYPES

import jaxinv

pytestmark = pytest.mark.unoptimised
ALL = list(DTYPES)


def exact_lu_info(a) -> int:
    """First (1-based) zero pivot of LU with partial pivoting in exact arithmetic, 0 if there is none."""
    rows = [[Fraction(float(v)) for v in row] for row in a]
    n = len(rows)
    for k in range(n):
        p = max(range(k, n), key=lambda i: abs(rows[i][k]))
        if rows[p][k] == 0:
            return k + 1
        rows[k], rows[p] = rows[p], rows[k]
        for i in range(k + 1, n):
            factor = rows[i][k] / rows[k][k]
            rows[i] = [x - factor * y for x, y in zip(rows[i], rows[k], strict=True)]
    return 0


def exactly_eliminated(rng, n, k, dtype):
    """P L U whose elimination is exact in every dtype, with a zero pivot at step k (none for k = 0)."""
    lower = np.tril(rng.integers(-3, 4, (n, n)) / 4, -1)
    upper = np.triu(rng.integers(-2, 3, (n, n)), 1)
    if n > 16:
        # Inverses of leading blocks, which blocked elimination forms, stay exact too.
        lower[: n // 2] = lower[:, n // 2 :] = upper[n // 2 :] = upper[:, : n // 2] = 0
    lower, upper = lower + np.eye(n), upper + np.diag(rng.choice([-2, -1, 1, 2], n))
    if k:
        upper[k - 1, k - 1] = 0
    return rng.permutation(lower @ upper).astype(dtype)


def bad_matrices(n, dtype):
    """(name, matrix, info, "zero" or "nan"): what the table of singular and non-finite input lists."""
    rng = matrices.rng_for("bad", n, dtype.name)
    good = matrices.well_conditioned((n, n), dtype, seed=1)
    out = [("zero", np.zeros((n, n), dtype), 1, "zero"), ("minus zero", -np.zeros((n, n), dtype), 1, "zero")]
    for j in {0, n // 2, n - 1}:
        a = good.copy()
        a[:, j] = 0
        out.append((f"zero column {j}", a, j + 1, "zero"))
        a = good.copy()
        a[j] = 0
        out.append((f"zero row {j}", a, n, "zero"))
        k = j + 1
        out.append((f"P L U, zero pivot {k}", exactly_eliminated(rng, n, k, dtype), k, "zero"))
    values = [np.nan, np.inf, -np.inf]
    if dtype.kind == "c":
        values += [complex(1, np.nan), complex(np.inf, 1), complex(1, -np.inf), complex(np.inf, np.nan)]
    for value in values:
        for i, j in {(0, 0), (n - 1, 0), (0, n - 1), (n // 2, n // 3), (n - 1, n - 1)}:
            a = good.copy()
            a[i, j] = value
            # Whatever row goes first, column j is not finite when its turn comes.
            out.append((f"{value} at {i}, {j}", a, j + 1, "nan"))
    return out


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", (1, 2, 3, 4, 5, 7, 8, 13, 17, 21, 33, 66))
@pytest.mark.portable(n=(3, 17, 66), dtype=("complex128",))
@pytest.mark.thinned("n", "dtype")
def test_table_of_singular_and_non_finite_input(path, n, dtype):
    names, a, info, kind = zip(*bad_matrices(n, DTYPES[dtype]), strict=True)
    a, info = np.stack(a), np.array(info)
    zero = np.array(kind) == "zero"
    ex = jaxinv.inv_ex(a)
    slogdet = jaxinv.inv_slogdet(a)
    det = jaxinv.inv_det(a)
    for x in (jaxinv.inv(a), ex.inverse, slogdet.inverse, det.inverse):
        finite = ~np.isnan(np.asarray(x).astype(complex)).all((-2, -1))
        assert not finite.any(), [names[i] for i in np.flatnonzero(finite)]
    solved = jaxinv.solve_ex(a, np.ones((n, 2), a.dtype))
    assert np.isnan(np.asarray(solved.x).astype(complex)).all()
    many = jaxinv.solve_ex(a, np.zeros((n, 17), a.dtype))
    assert np.isnan(np.asarray(many.x).astype(complex)).all()
    for got in (ex.info, solved.info, many.info):
        wrong = np.flatnonzero(np.asarray(got) != info)
        assert wrong.size == 0, [(names[i], int(got[i]), info[i]) for i in wrong]
    for result, singular in ((det.det, 0), (slogdet.sign, 0), (slogdet.logabsdet, -np.inf)):
        got = np.asarray(result).astype(matrices.wide_dtype(result.dtype))
        wrong = np.flatnonzero(np.where(zero, got != singular, ~np.isnan(got)))
        assert wrong.size == 0, [(names[i], got[i]) for i in wrong]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "float16"])
@pytest.mark.parametrize("n", (1, 2, 3, 4, 5, 6, 9, 12, 16))
@pytest.mark.portable(n=(6, 16), dtype=("complex64",))
@pytest.mark.thinned("n", "dtype", every=2)
def test_info_agrees_with_exact_elimination(path, n, dtype):
    rng = matrices.rng_for("exact", n)
    a = np.stack([exactly_eliminated(rng, n, k, np.float64) for k in range(n + 1) for _ in range(3)])
    expected = [exact_lu_info(m) for m in a]
    assert set(expected) == set(range(n + 1))
    a = a.astype(DTYPES[dtype])
    np.testing.assert_array_equal(jaxinv.inv_ex(a).info, expected)
    for columns in (1, 17):
        np.testing.assert_array_equal(jaxinv.solve_ex(a, a[..., :1].repeat(columns, -1)).info, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("n", (6, 8, 10, 13))
def test_info_where_other_pivots_would_round(native, n, dtype):
    """Pivots among columns, which these sizes try first, meet what rounding left in one of 300 of these."""
    rng = matrices.rng_for("exact", n)
    info = rng.integers(1, n + 1, 2000)
    a = np.stack([exactly_eliminated(rng, n, k, DTYPES[dtype]) for k in info])
    a *= np.exp2(rng.integers(-8, 8, (len(a), 1, n))).astype(matrices.real_dtype(DTYPES[dtype]))
    np.testing.assert_array_equal(jaxinv.inv_ex(a).info, info)


@pytest.mark.parametrize("dtype", ["float32", "complex128", "bfloat16"])
@pytest.mark.parametrize("n", (1, 2, 3, 4, 6, 8, 10, 17, 21, 40))
@pytest.mark.portable(n=(3, 40), dtype=("complex128",))
@pytest.mark.thinned("n", "dtype")
def test_neighbours_keep_their_bits(path, n, dtype):
    batch = 37
    good = matrices.well_conditioned((batch, n, n), DTYPES[dtype])
    cotangent = matrices.well_conditioned((batch, n, n), DTYPES[dtype], seed=2)
    mixed = good.copy()
    bad = [a for _, a, _, _ in bad_matrices(n, DTYPES[dtype])]
    where = np.arange(0, batch, 3)
    mixed[where] = [bad[i % len(bad)] for i in range(len(where))]
    kept = np.setdiff1d(np.arange(batch), where)

    def everything(a):
        x, vjp = jax.vjp(jaxinv.inv, a)
        y, vjp_solve = jax.vjp(jaxinv.solve, a, cotangent)
        solved = y, vjp_solve(cotangent), jaxinv.det(a), jaxinv.slogdet(a)
        return x, vjp(cotangent), jaxinv.inv_ex(a), jaxinv.inv_slogdet(a), jaxinv.inv_det(a), solved

    everything = jax.jit(everything)
    for clean, other in zip(
        jax.tree.leaves(everything(good)), jax.tree.leaves(everything(mixed)), strict=True
    ):
        assert np.asarray(clean)[kept].tobytes() == np.asarray(other)[kept].tobytes()
        assert np.isfinite(np.asarray(clean).astype(complex)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "bfloat16"])
@pytest.mark.parametrize("n", (3, 4, 5, 8, 9, 16, 20, 33))
@pytest.mark.portable(n=(3, 20), dtype=("float32",))
@pytest.mark.thinned("n", "dtype", every=2)
def test_ties_take_the_lowest_row(path, n, dtype):
    dtype = DTYPES[dtype]
    big = float(jnp.finfo(dtype).max) * 0.6
    # With either of the lower rows as the first pivot the other one overflows to a pivot that is inf.
    tie = np.array([[1, 0, 0], [1, big, 1], [-1, big, 2]])
    a = np.stack([np.eye(n)] * 2)
    a[0, :3, :3] = a[1, -3:, -3:] = tie
    x, info = jaxinv.inv_ex(a.astype(dtype))
    assert not info.any() and np.isfinite(np.asarray(x).astype(complex)).all()
    x, info = jaxinv.solve_ex(a.astype(dtype), np.eye(n, dtype=dtype))
    assert not info.any() and np.isfinite(np.asarray(x).astype(complex)).all()


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", (2, 3, 5, 9, 18, 21))
@pytest.mark.portable(n=(2, 18), dtype=("complex128",))
@pytest.mark.thinned("n", "dtype")
def test_nan_counts_as_the_largest_pivot(path, n, dtype):
    a = np.eye(n, dtype=DTYPES[dtype])
    a[:, 0] = 5
    a[n - 1, 0] = np.nan
    # A search that passed over the NaN would meet it one step later or more.
    assert int(jaxinv.inv_ex(a).info) == 1
    assert int(jaxinv.solve_ex(a, a).info) == 1 and int(jaxinv.solve_ex(a, a.repeat(20, 1)).info) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128", "bfloat16"])
@pytest.mark.parametrize("n", (2, 3, 4, 9, 33))
@pytest.mark.portable(n=(9, 33), dtype=("float32",))
@pytest.mark.thinned("n", "dtype", every=2)
def test_an_element_that_overflows_is_inf_with_info_zero(path, n, dtype):
    real = jnp.finfo(DTYPES[dtype])
    x, y = 2.0 ** (real.maxexp * 3 // 4), 2.0 ** -(real.maxexp * 3 // 4)
    a = np.eye(n)
    a[n - 2, n - 1], a[n - 1, n - 1] = x, y
    inverse, info = jaxinv.inv_ex(a.astype(DTYPES[dtype]))
    expected = np.eye(n)
    expected[n - 2, n - 1], expected[n - 1, n - 1] = -np.inf, 1 / y
    assert info == 0
    np.testing.assert_array_equal(np.asarray(inverse).real.astype(float), expected)


def test_float16_that_overflows_when_rounded_is_inf(path):
    # 1/1e-5 is within float32, in which half types are computed, but not within float16.
    inverse, info = jaxinv.inv_ex(np.diag([1e-5, -1e-5, 4]).astype(np.float16))
    assert info == 0
    np.testing.assert_array_equal(inverse, np.diag([np.inf, -np.inf, 0.25]))


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_singular_only_up_to_rounding_is_finite(path, dtype):
    tiny = float(jnp.finfo(DTYPES[dtype]).eps)
    a = np.array([[1, 1], [1, 1 + tiny]], DTYPES[dtype])
    x, info = jaxinv.inv_ex(a)
    assert info == 0
    np.testing.assert_array_equal(
        np.abs(x), np.array([[1 + 1 / tiny, 1 / tiny], [1 / tiny, 1 / tiny]], a.real.dtype)
    )


def test_a_zero_pivot_before_a_nan(path):
    # The entry decides the determinant, the first bad step the info.
    a = np.array([[0, 1, 2], [0, 3, np.nan], [0, 5, 6]], np.float32)
    assert int(jaxinv.inv_ex(a).info) == 1
    assert np.isnan(jaxinv.inv_det(a).det) and np.isnan(jaxinv.inv_slogdet(a).sign)
    assert np.isnan(jaxinv.inv_slogdet(a).logabsdet)


def test_info_has_the_batch_shape():
    a = np.zeros((2, 3, 4, 4), np.float32)
    a[1] = np.eye(4)
    np.testing.assert_array_equal(jaxinv.inv_ex(a).info, [[1, 1, 1], [0, 0, 0]])
    assert jaxinv.inv_ex(a).info.dtype == np.int32


def test_checkify_raises_on_singular_matrices():
    # The recipe of the README.
    def inv(a):
        x, info = jaxinv.inv_ex(a)
        checkify.check(jnp.all(info == 0), "singular at step {}", jnp.max(info))
        return x

    good, bad = np.eye(3), np.diag([1.0, 0, 1])
    checked = jax.jit(checkify.checkify(inv))
    error, x = checked(np.stack([good, good]))
    error.throw()
    np.testing.assert_array_equal(x, [good, good])
    with pytest.raises(checkify.JaxRuntimeError, match="singular at step 2"):
        checked(np.stack([good, bad]))[0].throw()
    batched = jax.vmap(inv)
    for f in (jax.grad(lambda a: jnp.sum(inv(a))), lambda a: batched(a[None])):
        for a in (good, bad):
            error, _ = jax.jit(checkify.checkify(f))(a)
            assert (error.get() is None) == (a is good)
