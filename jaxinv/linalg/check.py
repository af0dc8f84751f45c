"""What the public functions ask of their arguments, and the errors they raise.

Every message begins with the function's name and ends with the offending value.
"""

from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from jax.typing import ArrayLike

DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
STRUCTURES = ("general", "pos", "upper triangular", "lower triangular", "diagonal")


def inexact(name: str, a: ArrayLike) -> jax.Array:
    """An array argument of the public function `name`; integers and booleans promote to the default float."""
    if not (isinstance(a, (jax.Array, np.ndarray, np.generic)) or hasattr(a, "__jax_array__")):
        if not isinstance(a, (bool, int, float, complex)):
            raise TypeError(f"jaxinv.{name}: expected an array, got {type(a).__name__}")
    a = jnp.asarray(a)
    if jnp.issubdtype(a.dtype, jnp.integer) or a.dtype == bool:
        a = a.astype(jnp.result_type(float))
    if a.dtype.name not in DTYPES:
        raise TypeError(f"jaxinv.{name}: expected one of {', '.join(DTYPES)}, got dtype {a.dtype.name}")
    return a


def common_dtype(*given: ArrayLike) -> np.dtype:
    """The dtype of a result of several checked arguments, here as they were given: not each promoted alone.

    So an integer beside a float takes the type of the float; integers alone, the default float.
    """
    dtype = jnp.result_type(*given)
    return dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.result_type(float)


def square_matrices(name: str, a: ArrayLike) -> jax.Array:
    """An argument that holds matrices (..., n, n)."""
    a = inexact(name, a)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"jaxinv.{name}: expected square matrices (..., n, n), got shape {a.shape}")
    if not isinstance(a.shape[-1], int):  # a symbolic dimension of jax.export
        raise ValueError(f"jaxinv.{name}: the matrix size must be known when tracing, got shape {a.shape}")
    return a


def matrices(
    name: str, a: ArrayLike, argument: str = "a", rows: str = "m", columns: int | str = "n"
) -> jax.Array:
    """An argument that holds matrices (..., m, n), with so many columns where their number is given."""
    a = inexact(name, a)
    if a.ndim < 2 or columns not in ("n", a.shape[-1]):
        shape = f"(..., {rows}, {columns})"
        raise ValueError(f"jaxinv.{name}: expected {argument} of shape {shape}, got shape {a.shape}")
    if not all(isinstance(size, int) for size in a.shape[-2:]):  # a symbolic dimension of jax.export
        raise ValueError(f"jaxinv.{name}: the matrix size must be known when tracing, got shape {a.shape}")
    return a


def observations(name: str, a: jax.Array, b: ArrayLike) -> jax.Array:
    """An argument that holds right-hand sides (m,) or (..., m, k) of least squares with the matrices `a`."""
    b = inexact(name, b)
    m = a.shape[-2]
    if b.ndim == 0 or b.shape[-1 if b.ndim == 1 else -2] != m:
        raise ValueError(f"jaxinv.{name}: expected b of shape ({m},) or (..., {m}, k), got shape {b.shape}")
    return b


def real(name: str, argument: str, value: ArrayLike) -> jax.Array:
    """A real argument (...), one value for each matrix; its type, weak or not, is left as it is."""
    dtype = inexact(name, value).dtype
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise TypeError(f"jaxinv.{name}: expected {argument} to be real, got dtype {dtype.name}")
    return jnp.asarray(value)


def batch(name: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that batch dimensions broadcast to."""
    try:
        return jnp.broadcast_shapes(*shapes)
    except ValueError:
        given = " and ".join(map(str, shapes))
        raise ValueError(f"jaxinv.{name}: expected batch dimensions that broadcast, got {given}") from None


def broadcast(a: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Matrices with batch dimensions `shape`."""
    return jnp.broadcast_to(a, (*shape, *a.shape[-2:]))


def per_matrix(value: jax.Array, shape: tuple[int, ...], dtype) -> jax.Array:
    """One value for each matrix as (..., 1, 1)."""
    return broadcast(value.astype(dtype)[..., None, None], shape)


def right_hand_side(name: str, a: jax.Array, b: ArrayLike) -> jax.Array:
    """An argument that holds right-hand sides (n,) or (..., n, k) of systems with the matrices `a`."""
    b = observations(name, a, b)
    batch(name, a.shape[:-2], b.shape[:-2])
    return b


def indices(name: str, argument: str, value: Any, n: int) -> tuple[int, ...]:
    """An argument that selects rows or columns among n: an int (the first so many), a slice, integers."""
    is_slice = isinstance(value, slice)
    parts = (value.start, value.stop, value.step) if is_slice else value
    if any(isinstance(x, jax.core.Tracer) for x in (parts if isinstance(parts, list | tuple) else [parts])):
        raise TypeError(f"jaxinv.{name}: {argument} must be known when tracing, got {value}")
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        if not 0 <= value <= n:
            raise IndexError(f"jaxinv.{name}: the first {value} of {n} {argument} are out of range")
        return tuple(range(value))
    try:
        array = np.arange(n)[value] if is_slice else np.asarray(value)
    except (TypeError, ValueError) as error:
        if is_slice and isinstance(error, ValueError):
            message = f"the step of a slice of {argument} must not be 0, got {value}"
            raise ValueError(f"jaxinv.{name}: {message}") from None
        array = np.zeros((), object)  # lists of different lengths, a slice by no integers
    if not array.size:
        array = array.astype(int)  # an empty list makes floats
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise TypeError(
            f"jaxinv.{name}: expected {argument} to be an int, a slice or a 1-D sequence of integers, "
            f"got {value!r}"
        )
    for i in array.tolist():
        if not -n <= i < n:
            raise IndexError(f"jaxinv.{name}: index {i} is out of range for {n} {argument}")
    return tuple(i % n for i in array.tolist())


def structure(name: str, assume_a: str, lower: bool) -> str:
    """The arguments that say what is known of the matrices, as operations name it."""
    if assume_a not in STRUCTURES:
        choices = ", ".join(map(repr, STRUCTURES))
        raise ValueError(f"jaxinv.{name}: assume_a must be one of {choices}, got {assume_a!r}")
    if assume_a == "pos":
        return "pos lower" if lower else "pos upper"
    return assume_a
