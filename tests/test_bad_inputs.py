"""Bad arguments raise when the call is traced, with the function's name and the offending value."""

import contextlib

import jax
import ml_dtypes
import numpy as np
import pytest
from jax import numpy as jnp

import jaxinv

NAMES = ("inv", "inv_ex", "inv_slogdet", "inv_det", "det", "slogdet")
functions = pytest.mark.parametrize("name", NAMES)
STRUCTURES = "'general', 'pos', 'upper triangular', 'lower triangular', 'diagonal'"
SUPPORTED = "float16, bfloat16, float32, float64, complex64, complex128"


@contextlib.contextmanager
def raises(error, message):
    """The whole message, word for word; `match=` would also read the notes that JAX adds."""
    with pytest.raises(error) as caught:
        yield
    assert str(caught.value) == message


def raises_everywhere(error, message, name, a, **kwargs):
    """Raised by an eager call and, before anything is compiled, by every transformation's trace."""
    f = getattr(jaxinv, name)
    for call in (f, jax.jit(lambda a: f(a, **kwargs))):
        with raises(error, message):
            call(a, **kwargs) if call is f else call(a)
    with raises(error, message):
        jax.eval_shape(lambda a: f(a, **kwargs), a)


@functions
@pytest.mark.parametrize(
    "shape", [(4, 3), (1, 2), (2, 3, 4), (5, 0, 1), (7,), (), (0,), (2, 2, 2, 3)], ids=str
)
def test_not_square(name, shape):
    message = f"jaxinv.{name}: expected square matrices (..., n, n), got shape {shape}"
    raises_everywhere(ValueError, message, name, np.ones(shape, np.float32))


@functions
@pytest.mark.parametrize("scalar", [1, 2.5, True, 1j, np.float32(3)])
def test_scalar(name, scalar):
    message = f"jaxinv.{name}: expected square matrices (..., n, n), got shape ()"
    with raises(ValueError, message):
        getattr(jaxinv, name)(scalar)


@functions
@pytest.mark.parametrize("assume_a", ["sym", "her", "Pos", "General", "", "upper", None, 0])
def test_unknown_structure(name, assume_a):
    message = f"jaxinv.{name}: assume_a must be one of {STRUCTURES}, got {assume_a!r}"
    raises_everywhere(ValueError, message, name, np.eye(2, dtype=np.float32), assume_a=assume_a)


@functions
def test_general_is_accepted_by_name(name):
    a = np.diag([2.0, 4.0])
    for kwargs in ({"assume_a": "general"}, {"assume_a": "general", "lower": True}):
        out = getattr(jaxinv, name)(a, **kwargs)
        expected = {"det": 8, "slogdet": 1}.get(name, np.diag([0.5, 0.25]))
        np.testing.assert_array_equal(jax.tree.leaves(out)[0], expected)


@functions
@pytest.mark.parametrize(
    ("argument", "kind"),
    [([[1.0, 2.0], [3.0, 4.0]], "list"), (((1.0, 0.0), (0.0, 1.0)), "tuple"), (None, "NoneType")],
)
def test_not_an_array(name, argument, kind):
    f = getattr(jaxinv, name)
    for call in (f, jax.jit(lambda a: f(a))):
        with raises(TypeError, f"jaxinv.{name}: expected an array, got {kind}"):
            call(argument)


@functions
@pytest.mark.parametrize(
    "a",
    ["ab", np.array([["a", "b"], ["c", "d"]]), np.array([[1, None], [3, 4]])],
    ids=["str", "strings", "objects"],
)
def test_what_jax_takes_for_no_array(name, a):
    # jax.jit refuses it before the function is entered, naming function and argument.
    pattern = rf"^Error interpreting argument to <function {name} at .*> as an abstract array\..* path a\."
    with pytest.raises(TypeError, match=pattern):
        getattr(jaxinv, name)(a)


@functions
@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3b11fnuz"])
def test_unsupported_dtypes_of_jax(name, dtype):
    a = np.eye(2).astype(getattr(ml_dtypes, dtype))
    message = f"jaxinv.{name}: expected one of {SUPPORTED}, got dtype {dtype}"
    raises_everywhere(TypeError, message, name, a)


@functions
def test_random_keys(name):
    keys = jax.random.split(jax.random.key(0), (2, 2))
    message = f"jaxinv.{name}: expected one of {SUPPORTED}, got dtype {keys.dtype.name}"
    raises_everywhere(TypeError, message, name, keys)


@pytest.mark.parametrize("dtype", ["int4", "uint4"])
def test_four_bit_integers_promote(dtype):
    a = jnp.eye(2, dtype=dtype)
    assert jaxinv.inv(a).dtype == jnp.result_type(float)
    np.testing.assert_array_equal(jaxinv.inv(a), np.eye(2))


@functions
def test_the_matrix_is_the_only_positional_argument(name):
    with pytest.raises(TypeError, match=rf"{name}\(\) takes 1 positional argument but 2 were given"):
        getattr(jaxinv, name)(np.eye(2), np.eye(2))


@functions
def test_unknown_keyword(name):
    with pytest.raises(TypeError, match="overwrite_a"):
        getattr(jaxinv, name)(np.eye(2), overwrite_a=True)


@functions
def test_a_shape_found_wrong_under_vmap_is_that_of_one_example(name):
    message = f"jaxinv.{name}: expected square matrices (..., n, n), got shape (4, 3)"
    with raises(ValueError, message):
        jax.vmap(getattr(jaxinv, name))(np.ones((5, 4, 3)))


SOLVERS = pytest.mark.parametrize("name", ("solve", "solve_ex"))


@SOLVERS
@pytest.mark.parametrize("shape", [(), (4,), (4, 1), (3, 2, 1), (2, 4, 3), (1, 3)], ids=str)
def test_right_hand_side_that_does_not_fit(name, shape):
    message = f"jaxinv.{name}: expected b of shape (3,) or (..., 3, k), got shape {shape}"
    with raises(ValueError, message):
        getattr(jaxinv, name)(np.eye(3), np.ones(shape))


@SOLVERS
def test_batches_that_do_not_broadcast(name):
    message = f"jaxinv.{name}: expected batch dimensions that broadcast, got (2,) and (5,)"
    with raises(ValueError, message):
        getattr(jaxinv, name)(np.ones((2, 3, 3)), np.ones((5, 3, 1)))


@SOLVERS
def test_bad_arguments_of_solve(name):
    f = getattr(jaxinv, name)
    with raises(ValueError, f"jaxinv.{name}: expected square matrices (..., n, n), got shape (4, 3)"):
        f(np.ones((4, 3)), np.ones(3))
    with raises(TypeError, f"jaxinv.{name}: expected an array, got list"):
        f(np.eye(2), [1.0, 2.0])
    with raises(TypeError, f"jaxinv.{name}: expected an array, got list"):
        f([[1.0]], np.ones(1))
    with raises(TypeError, f"jaxinv.{name}: expected one of {SUPPORTED}, got dtype float8_e5m2"):
        f(np.eye(2), np.ones(2).astype(ml_dtypes.float8_e5m2))
    with raises(ValueError, f"jaxinv.{name}: assume_a must be one of {STRUCTURES}, got 'her'"):
        f(np.eye(2), np.ones(2), assume_a="her")
