"""Exported programs: saved, loaded elsewhere, with symbolic batch, for several platforms, differentiated."""

import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax import export
from jax import numpy as jnp
from matrices import assert_inverse

import jaxinv

_CHECKS = [
    export.DisabledSafetyCheck.custom_call(f"jaxinv_{name}")
    for name in ("inverse", "triple_product", "solve", "lu_factor", "lu_solve", "determinant")
]


def _matrices(shape, dtype=np.float32):
    rng = np.random.default_rng(3)
    return (rng.standard_normal(shape) + 4 * np.eye(shape[-1])).astype(dtype)


def _export(function, shape, dtype=np.float32, **keywords):
    argument = jax.ShapeDtypeStruct(shape, dtype)
    return export.export(jax.jit(function), disabled_checks=_CHECKS, **keywords)(argument)


def test_needs_the_safety_check_argument(native):
    with pytest.raises(ValueError, match="jaxinv_inverse"):
        export.export(jax.jit(jaxinv.inv))(jax.ShapeDtypeStruct((2, 3, 3), np.float32))


@pytest.mark.parametrize("n", [3, 17, 40])
def test_reloaded_program_gives_the_same_bits(n):
    a = _matrices((5, n, n))
    loaded = export.deserialize(_export(jaxinv.inv, a.shape).serialize())
    np.testing.assert_array_equal(loaded.call(a), jaxinv.inv(a))


def test_process_that_only_imports_jaxinv_runs_it(tmp_path):
    a = _matrices((4, 3, 3))
    (tmp_path / "program").write_bytes(_export(jaxinv.inv, a.shape).serialize())
    np.save(tmp_path / "a.npy", a)
    code = (
        "import jaxinv, numpy as np, pathlib, sys\n"
        "from jax import export\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "program = export.deserialize(bytearray((folder / 'program').read_bytes()))\n"
        "np.save(folder / 'x.npy', program.call(np.load(folder / 'a.npy')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), jaxinv.inv(a))


@pytest.mark.parametrize("n", [2, 8, 40])
def test_symbolic_batch(n):
    (batch,) = export.symbolic_shape("batch")
    program = _export(jaxinv.inv, (batch, n, n))
    for size in (1, 6, 19):
        a = _matrices((size, n, n))
        np.testing.assert_array_equal(program.call(a), jaxinv.inv(a))


def test_symbolic_size_is_refused():
    (n,) = export.symbolic_shape("n")
    message = "jaxinv.inv: the matrix size must be known when tracing, got shape (3, n, n)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}(\n|$)"):
        _export(jaxinv.inv, (3, n, n))


def test_derivative_is_exported_too():
    a = _matrices((6, 4, 4))
    program = export.deserialize(_export(jaxinv.inv, a.shape).serialize(vjp_order=1))

    def loss(inverse):
        return lambda a: jnp.sum(jnp.sin(inverse(a)))

    np.testing.assert_array_equal(jax.grad(loss(program.call))(a), jax.grad(loss(jaxinv.inv))(a))


def test_several_platforms():
    a = _matrices((3, 5, 5))
    program = _export(jaxinv.inv, a.shape, platforms=("cpu", "cuda", "tpu"))
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert_inverse(a, program.call(a))


def _solve_and_more(a):
    b = a[..., :2]
    out = (
        jaxinv.solve_ex(a, b),
        jaxinv.inv_rows(a, 1),
        jaxinv.slogdet(a),
        jaxinv.det(a),
        jaxinv.solve(a[0], b),
    )
    return jax.tree.leaves(out)  # a program that returns named tuples would have to register their types


@pytest.mark.parametrize("n", [3, 20])
def test_solutions_and_determinants(n):
    (batch,) = export.symbolic_shape("batch")
    for shape in ((5, n, n), (batch, n, n)):
        program = export.deserialize(_export(_solve_and_more, shape).serialize())
        a = _matrices((5, n, n))
        for got, expected in zip(
            jax.tree.leaves(program.call(a)), jax.tree.leaves(_solve_and_more(a)), strict=True
        ):
            np.testing.assert_array_equal(got, expected)


def test_derivative_of_solve_is_exported_too():
    a = _matrices((6, 20, 20))
    program = export.deserialize(_export(lambda a: jaxinv.solve(a, a[0]), a.shape).serialize(vjp_order=1))
    got = jax.grad(lambda a: program.call(a).sum())(a)
    expected = jax.grad(lambda a: jaxinv.solve(a, a[0]).sum())(a)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def test_symbolic_number_of_right_hand_sides():
    (columns,) = export.symbolic_shape("columns")
    a = _matrices((4, 4))
    shape = jax.ShapeDtypeStruct((4, columns), np.float32)
    program = export.export(jax.jit(lambda b: jaxinv.solve(a, b)), disabled_checks=_CHECKS)(shape)
    for k in (1, 3, 40):
        np.testing.assert_array_equal(
            program.call(a[:, :1].repeat(k, 1)), jaxinv.solve(a, a[:, :1].repeat(k, 1))
        )
