"""What the public functions ask of their arguments, and the errors they raise.

Every message begins with the function's name and ends with the offending value.
"""

import jax
import numpy as np
from jax import numpy as jnp
from jax.typing import ArrayLike

DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
STRUCTURES = ("general",)


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


def square_matrices(name: str, a: ArrayLike) -> jax.Array:
    """An argument that holds matrices (..., n, n)."""
    a = inexact(name, a)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"jaxinv.{name}: expected square matrices (..., n, n), got shape {a.shape}")
    if not isinstance(a.shape[-1], int):  # a symbolic dimension of jax.export
        raise ValueError(f"jaxinv.{name}: the matrix size must be known when tracing, got shape {a.shape}")
    return a


def structure(name: str, assume_a: str) -> str:
    """The argument that names what is known of the matrices."""
    if assume_a not in STRUCTURES:
        choices = ", ".join(map(repr, STRUCTURES))
        raise ValueError(f"jaxinv.{name}: assume_a must be one of {choices}, got {assume_a!r}")
    return assume_a
