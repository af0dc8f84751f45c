"""What is handed to the compiler: full precision everywhere, one call for `inv`, one for its cotangent."""

import re

import jax
import numpy as np
import pytest
from conftest import missing
from jax import numpy as jnp
from matrices import DTYPES

import jaxinv
from jaxinv import _native


def _lowered(function, n, dtype, platform, batch=64):
    return (
        jax.jit(function)
        .trace(jax.ShapeDtypeStruct((batch, n, n), dtype))
        .lower(lowering_platforms=(platform,))
    )


def _loss(x):
    solved = jnp.sum(jaxinv.solve(x, x[..., :2])) + jnp.sum(jaxinv.inv_rows(x, 2))
    determinants = jnp.sum(jaxinv.slogdet(x).logabsdet) + jnp.sum(jaxinv.det(x))
    return _inverses(x) + solved + determinants


def _inverses(x):
    return jnp.sum(jnp.real(jaxinv.inv(x))) + jnp.sum(jaxinv.inv_slogdet(x).logabsdet)


def _cotangent(x):
    return jax.vjp(jaxinv.inv, x)[1](x)[0]


@pytest.mark.parametrize("platform", ["cuda", "tpu", "cpu"])
@pytest.mark.parametrize("precision", ["default", "bfloat16"])
@pytest.mark.parametrize("n", [3, 40, 100])
@pytest.mark.thinned("platform", "precision", "n", every=2)
def test_every_product_has_full_precision(platform, precision, n):
    with jax.default_matmul_precision(precision):
        text = _lowered(jax.grad(_loss), n, np.float32, platform).as_text()
        text += _lowered(_cotangent, n, np.float32, platform).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert products or n == 3
    for line in products:
        assert re.search(r"precision = \[HIGHEST, HIGHEST\]", line), line


def _custom_calls(text):
    return re.findall(r'custom_call_target="(\w+)"', text)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [2, 3, 8, 17, 32])
def test_compiled_inverse_is_one_call(native, dtype, n):
    text = _lowered(jaxinv.inv, n, DTYPES[dtype], "cpu").compile().as_text()
    assert _custom_calls(text) == ["jaxinv_inverse"]
    assert _other_operations(text, n) == set()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [2, 3, 8, 10, 17, 32, 128])
def test_compiled_cotangent_is_two_calls(native, dtype, n):
    """One for the inverse, one for its cotangent; no transpose, copy, select or convert beside them."""
    text = _lowered(_cotangent, n, DTYPES[dtype], "cpu").compile().as_text()
    assert sorted(_custom_calls(text)) == ["jaxinv_inverse", "jaxinv_triple_product"]
    assert _other_operations(text, n) == set()


def _other_operations(text, n):
    """Operations of the compiled text on arrays of the batch's matrices, but for the calls themselves."""
    found = set(re.findall(rf"= \S*\[64,{n},{n}\]\S* ([\w-]+)\(", text))
    assert "parameter" in found  # the pattern reads this text
    return found - {"parameter", "custom-call", "get-tuple-element"}


@pytest.fixture
def cuda_kernels() -> None:
    """Programs for CUDA call kernels: this build has them, with or without a GPU at hand."""
    plan = _native.plan("cuda", "inverse", 3, np.float32)
    if not plan["native"]:
        missing("cuda-compile", plan["reason"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 3, 8, 17, 20, 32])
def test_lowered_for_cuda_to_one_call_each(cuda_kernels, dtype, n):
    """On arrays of the batch's matrices: a call for the inverse, one for its cotangent, and nothing else."""
    calls = ["jaxinv_inverse"]
    for function, expected in ((jaxinv.inv, calls), (_cotangent, [*calls, "jaxinv_triple_product"])):
        text = _lowered(function, n, DTYPES[dtype], "cuda").as_text()
        assert sorted(re.findall(r"stablehlo.custom_call @(\w+)\(", text)) == expected
        lines = [line for line in text.splitlines() if f"tensor<64x{n}x{n}x" in line]
        found = {name for line in lines for name in re.findall(r"stablehlo\.(\w+)", line)}
        assert found == {"custom_call"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [33, 57, 107, 300])
def test_large_sizes_lowered_for_cuda_to_one_call_with_scratch(cuda_kernels, dtype, n):
    """Scratch memory, where a device may need it, is one more result that nobody sees."""
    workspace = _native.plan("cuda", "inverse", n, DTYPES[dtype])["workspace"]
    assert bool(workspace) == (n > {4: 106, 8: 78, 16: 57}[max(DTYPES[dtype].itemsize, 4)])
    text = _lowered(jaxinv.inv, n, DTYPES[dtype], "cuda").as_text()
    assert re.findall(r"stablehlo.custom_call @(\w+)\(", text) == ["jaxinv_inverse"]
    assert text.count("xui8>") == text.count(f"tensor<64x{workspace}xui8>")
    assert bool(text.count("xui8>")) == bool(workspace)
    lines = [line for line in text.splitlines() if f"tensor<64x{n}x{n}x" in line]
    assert {name for line in lines for name in re.findall(r"stablehlo\.(\w+)", line)} == {"custom_call"}


_COMPUTED = ("float32", "float64", "complex64", "complex128")
_SYSTEM_MAX = {4: 118, 8: 81, 16: 55}  # by bytes of a number, where 64 KB of shared memory hold the matrix
_ASSUMED = ({}, *({"assume_a": a, "lower": True} for a in ("pos", "upper triangular", "lower triangular")))


def _calls_for_cuda(function, n, dtype):
    text = _lowered(function, n, np.dtype(dtype), "cuda").as_text()
    assert not re.search(r"stablehlo\.(while|cholesky|triangular_solve)", text)
    return re.findall(r"stablehlo.custom_call @(\w+)\(", text)


@pytest.mark.parametrize("dtype", _COMPUTED)
@pytest.mark.parametrize("n", [1, 3, 16, 17, 33])
def test_systems_lowered_for_cuda_to_kernels(cuda_kernels, dtype, n):
    """One call each; of larger systems but triangles, one for the factors and one for the solution."""
    for assumed in _ASSUMED:
        triangle = "triangular" in assumed.get("assume_a", "")
        fused = n <= 16 or triangle
        calls = ["jaxinv_solve"] if fused else ["jaxinv_lu_factor", "jaxinv_lu_solve"]
        assert _calls_for_cuda(lambda x, kw=assumed: jaxinv.solve(x, x[..., :2], **kw), n, dtype) == calls
        if not triangle:
            det = _calls_for_cuda(lambda x, kw=assumed: jaxinv.det(x, **kw), n, dtype)
            assert det == ["jaxinv_determinant"]
        if assumed:
            inverse = _calls_for_cuda(lambda x, kw=assumed: jaxinv.inv(x, **kw), n, dtype)
            assert inverse == ["jaxinv_inverse"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_structured_inverses_of_half_types_lowered_for_cuda_to_one_call(cuda_kernels, dtype):
    for assumed in _ASSUMED:
        calls = _calls_for_cuda(lambda x, kw=assumed: jaxinv.inv(x, **kw), 20, jnp.dtype(dtype))
        assert calls == ["jaxinv_inverse"]


@pytest.mark.parametrize("dtype", _COMPUTED)
def test_derivatives_of_systems_lowered_for_cuda_factor_once(cuda_kernels, dtype):
    def loss(x):
        return jnp.sum(jnp.abs(jaxinv.solve(x, x[..., :2])))

    calls = _calls_for_cuda(lambda x: jax.vjp(loss, x)[1](jnp.ones((), x.real.dtype))[0], 40, dtype)
    assert calls == ["jaxinv_lu_factor", "jaxinv_lu_solve", "jaxinv_lu_solve"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_plans_of_systems_for_cuda(cuda_kernels, dtype):
    """By lanes, by blocks, and above what 64 KB hold by the portable path, which says so."""
    largest = _SYSTEM_MAX[max(DTYPES[dtype].itemsize, 4)]
    structures = ["general", "pos upper", "pos lower", "upper triangular", "lower triangular"]
    for op, file in (
        ("solve", "solve"),
        ("lu_solve", "solve"),
        ("lu_factor", "lu"),
        ("determinant", "lu"),
        ("inverse", "inverse_triangle"),
    ):
        for structure in structures[op == "inverse" :]:
            plans = {
                n: _native.plan("cuda", op, n, DTYPES[dtype], structure)
                for n in (1, 32, 33, largest, largest + 1)
            }
            if structure in structures[3:] and op not in ("solve", "inverse"):
                assert not any(plan["native"] for plan in plans.values())
                continue
            *native, above = plans.values()
            assert all(plan["kernel"] == f"cuda/{file}" and plan["workspace"] == 0 for plan in native)
            assert "per warp" in plans[32]["algorithm"] and "per block" in plans[33]["algorithm"]
            assert not above["native"] and f"n > {largest}: 64 KB" in above["reason"]


@pytest.mark.parametrize(
    ("n", "dtype", "kernel"),
    [
        (4, "float32", "cpu/triple_product_lanes"),
        (4, "float64", "cpu/triple_product_rows"),
        (8, "float32", "cpu/triple_product_rows"),
        (8, "complex64", "cpu/triple_product_lanes"),
        (9, "float64", "cpu/triple_product_lanes"),
        (11, "float64", "cpu/triple_product_rows"),
        (128, "complex128", "cpu/triple_product_rows"),
        (129, "float32", "XLA dot_general"),
    ],
)
def test_kernels_of_cotangents(native, n, dtype, kernel):
    assert _native.plan("cpu", "triple_product", n, DTYPES[dtype])["kernel"] == kernel


def test_lowered_for_cuda_keeps_row_major_layouts(cuda_kernels):
    text = _lowered(_cotangent, 8, np.float32, "cuda").as_text()
    (call,) = [line for line in text.splitlines() if "@jaxinv_triple_product" in line]
    assert call.count("dense<[2, 1, 0]>") == 4
    assert "transpose_l = true" in call and "transpose_r = true" in call


def test_scratch_memory_is_one_more_result_and_dropped(native, monkeypatch):
    plan = {"native": True, "workspace": 48}
    monkeypatch.setattr(_native, "lowered_plan", lambda *_: plan)
    # A shape of its own: what was lowered once is not lowered again.
    lowered = _lowered(jaxinv.inv, 3, np.float32, "cpu", batch=65)
    (call,) = [line for line in lowered.as_text().splitlines() if "@jaxinv_inverse" in line]
    assert "-> (tensor<65x3x3xf32>, tensor<65x48xui8>)" in call
    assert "([i, j, k])->([i, l, m], [i, n])" in call
    assert lowered.out_info.shape == (65, 3, 3)


def test_results_nobody_asked_for_are_not_computed(native):
    text = _lowered(jaxinv.inv, 3, np.float32, "cpu").as_text()
    (call,) = [line for line in text.splitlines() if "jaxinv_inverse" in line]
    assert "with_info = false" in call and "with_det = false" in call
    assert "tensor<64xi32>" not in call


def test_second_derivative_stays_in_the_family(native):
    text = _lowered(jax.grad(lambda x: jnp.sum(jax.grad(_inverses)(x) ** 2)), 5, np.float32, "cpu").as_text()
    calls = set(re.findall(r"@(jaxinv_\w+)\(", text))
    assert calls == {"jaxinv_inverse", "jaxinv_triple_product"}
    assert "triangular_solve" not in text and "lapack" not in text


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("n", [2, 3, 8, 16])
def test_compiled_small_system_is_one_call(native, dtype, n):
    text = _lowered(lambda x: jaxinv.solve(x, x), n, DTYPES[dtype], "cpu").compile().as_text()
    assert _custom_calls(text) == ["jaxinv_solve"]
    assert _other_operations(text, n) == set()
    text = _lowered(jaxinv.det, n, DTYPES[dtype], "cpu").compile().as_text()
    assert _custom_calls(text) == ["jaxinv_determinant"]
    assert _other_operations(text, n) == set()
