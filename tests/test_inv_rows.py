"""inv_rows and inv_cols: the rows asked for and no others, arguments, derivatives, memory."""

import re

import jax
import matrices
import numpy as np
import pytest
from jax import numpy as jnp
from jax.test_util import check_grads
from matrices import DTYPES, transpose
from solutions import assert_solution

import jaxinv

FUNCTIONS = {"inv_rows": "rows", "inv_cols": "cols"}
functions = pytest.mark.parametrize("name", FUNCTIONS)
_SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in (2, 8, 40)]


def select(name, x, index):
    return x[..., index, :] if name == "inv_rows" else x[..., :, index]


@functions
@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("n", (1, 3, 16, 17, 100, *_SLOW))
@pytest.mark.portable(n=(3, 17), dtype=("complex128",), name=("inv_rows",))
@pytest.mark.thinned("n", "dtype", every=2)
def test_generators(path, name, n, dtype, flushes):
    names, a = matrices.generate(n, DTYPES[dtype], 2)
    k = min(n, 5)
    x = np.asarray(getattr(jaxinv, name)(a, k))
    assert x.shape == select(name, a, slice(k)).shape and x.dtype == a.dtype
    units = np.broadcast_to(np.eye(n)[:, :k].astype(a.dtype), (len(a), n, k))
    if name == "inv_rows":
        a, x = transpose(a), transpose(x)
    assert_solution(a, units, x, names, flushes and path == "portable")


@functions
@pytest.mark.parametrize(
    "selection",
    [
        0,
        2,
        5,
        np.int64(3),
        slice(None),
        slice(1, 4),
        slice(None, None, -2),
        slice(3, 99),
        slice(4, 1),
        [1, 3],
        (4, 0, 0),
        [-1, -5],
        [],
        range(2, 5),
        np.array([3, 1], np.uint8),
        np.zeros(0, int),
    ],
    ids=str,
)
@pytest.mark.parametrize("n", (pytest.param(5, marks=pytest.mark.slow), 20))
def test_selections(name, selection, n):
    a = matrices.well_conditioned((2, n, n), np.float64)
    index = slice(int(selection)) if isinstance(selection, int | np.integer) else selection
    if isinstance(index, range | tuple | list):
        index = np.array(index, int)
    expected = select(name, np.linalg.inv(a), index)
    f = getattr(jaxinv, name)
    for got in (
        f(a, selection),
        jax.jit(lambda a: f(a, selection))(a),
        jax.vmap(lambda a: f(a, selection))(a),
    ):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


@functions
@pytest.mark.parametrize(
    ("selection", "error", "message"),
    [
        (4, IndexError, "the first 4 of 3 {} are out of range"),
        (-1, IndexError, "the first -1 of 3 {} are out of range"),
        ([0, 3], IndexError, "index 3 is out of range for 3 {}"),
        ((-4,), IndexError, "index -4 is out of range for 3 {}"),
        (True, TypeError, "expected {} to be an int, a slice or a 1-D sequence of integers, got True"),
        (1.0, TypeError, "expected {} to be an int, a slice or a 1-D sequence of integers, got 1.0"),
        ("ab", TypeError, "expected {} to be an int, a slice or a 1-D sequence of integers, got 'ab'"),
        (None, TypeError, "expected {} to be an int, a slice or a 1-D sequence of integers, got None"),
        ([[1]], TypeError, "expected {} to be an int, a slice or a 1-D sequence of integers, got [[1]]"),
        ([True, False], TypeError, "expected {} to be an int, a slice or a 1-D sequence of integers, "
         "got [True, False]"),
        ([[0], [1, 2]], TypeError, "expected {} to be an int, a slice or a 1-D sequence of integers, "
         "got [[0], [1, 2]]"),
        (slice(0, 1.5), TypeError, "expected {} to be an int, a slice or a 1-D sequence of integers, "
         "got slice(0, 1.5, None)"),
        (slice(0, 1, 0), ValueError, "the step of a slice of {} must not be 0, got slice(0, 1, 0)"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_selections(name, selection, error, message):
    message = f"jaxinv.{name}: {message.format(FUNCTIONS[name])}"
    for call in (getattr(jaxinv, name), jax.jit(getattr(jaxinv, name), static_argnums=1)):
        if isinstance(selection, list | slice) and call is not getattr(jaxinv, name):
            continue  # no static argument of jax.jit: not hashable (slices before Python 3.12)
        with pytest.raises(error) as caught:
            call(np.eye(3), selection)
        assert str(caught.value) == message  # `match` would also read the notes that JAX adds


@functions
@pytest.mark.parametrize("kind", ["whole", "slice", "list"])
def test_traced_selection(name, kind):
    message = f"jaxinv.{name}: {FUNCTIONS[name]} must be known when tracing, got "

    def f(k):
        selection = {"whole": k, "slice": slice(0, k), "list": [k, 0]}[kind]
        return getattr(jaxinv, name)(np.eye(3), selection)

    for k in (1, np.array([1])):
        with pytest.raises(TypeError, match=f"^{re.escape(message)}.*Trace"):
            jax.jit(f)(k)


@functions
@pytest.mark.parametrize("dtype", ("float64", "complex128"))
@pytest.mark.parametrize("n", (3, 20))
@pytest.mark.portable(n=(3,), dtype=("float64",), name=("inv_rows",))
@pytest.mark.unoptimised
@pytest.mark.thinned("name", "n", "dtype", every=2)
def test_derivatives(path, name, n, dtype):
    a = matrices.well_conditioned((2, n, n), DTYPES[dtype], kappa=3)
    f = getattr(jaxinv, name)
    check_grads(lambda a: f(a, [0, -1]), (a,), 2, modes=("fwd", "rev"), atol=1e-6 * n, rtol=1e-6, eps=1e-5)
    g = matrices.normal(matrices.rng_for(n), (2, n, n), a.dtype)
    (got,) = jax.vjp(lambda a: f(a, slice(None)), a)[1](g)
    x = np.linalg.inv(a)
    np.testing.assert_allclose(got, -transpose(x) @ g @ transpose(x), rtol=0, atol=1e-10)


@functions
@pytest.mark.parametrize("n", (3, 16, 17, 64))
@pytest.mark.portable(n=(17,))
def test_singular_matrices_leave_their_neighbours(path, name, n):
    good = matrices.well_conditioned((7, n, n), np.float32)
    mixed = good.copy()
    mixed[2, :, -1] = 0
    mixed[5, 0, n // 2] = np.nan
    f = getattr(jaxinv, name)
    x, y = np.asarray(f(good, 2)), np.asarray(f(mixed, 2))
    kept = [0, 1, 3, 4, 6]
    assert x[kept].tobytes() == y[kept].tobytes()
    assert np.isfinite(x).all() and np.isnan(y[[2, 5]]).all()


@functions
def test_nothing_as_large_as_the_inverse_beside_the_factors(native, name):
    n, k = 512, 60
    a = jax.ShapeDtypeStruct((n, n), np.float32)
    compiled = jax.jit(lambda a: getattr(jaxinv, name)(a, k)).lower(a).compile()
    factors = n * n * 4
    assert compiled.memory_analysis().temp_size_in_bytes <= factors + 4 * n * k * 4
    assert "jaxinv_inverse" not in compiled.as_text()


def test_rows_and_columns_agree_with_the_inverse():
    a = matrices.well_conditioned((3, 30, 30), np.float32)
    x = jaxinv.inv(a)
    gate = 100 * 30 * 10 * matrices.eps(np.float32)
    np.testing.assert_allclose(jaxinv.inv_rows(a, 7), x[:, :7], rtol=0, atol=gate * jnp.abs(x).max())
    np.testing.assert_allclose(jaxinv.inv_cols(a, 7), x[..., :7], rtol=0, atol=gate * jnp.abs(x).max())
