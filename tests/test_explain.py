"""`jaxinv.explain` prints the plan for every platform and refuses what is not a question."""

import re

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import jaxinv
from jaxinv import _native

_PORTABLE = "portable path (plain jax.numpy)"


def fake_plan(backend, op, n, dtype, structure):
    """A plan that says what it was asked."""
    fused = op == "inverse" or n <= 8
    return {
        "native": fused,
        "algorithm": f"algorithm of {op}",
        "kernel": f"{op}_lanes<{n}, {jnp.dtype(dtype).name}>" if fused else "XLA",
        "reason": f"the plan of {backend}",
        "workspace": 16,
    }


def fake_cpu_plan(op, n, dtype, structure, nbytes, mac):
    return fake_plan("mac" if mac else "cpu", op, n, dtype, structure)


def test_prints_the_plan(monkeypatch):
    monkeypatch.setattr(_native, "cpu_plan", fake_cpu_plan)
    assert jaxinv.explain((1000, 1000, 3, 3), "float32", platform="cpu") == (
        "jaxinv.inv of 1000000 float32 matrices 3 × 3 on cpu\n"
        "  algorithm  algorithm of inverse\n"
        "  kernel     inverse_lanes<3, float32>\n"
        "  memory     36 MB read, 36 MB written, 16 MB workspace\n"
        "  why        the plan of cpu\n"
        "its cotangent −Xᵀ G Xᵀ\n"
        "  algorithm  algorithm of triple_product\n"
        "  kernel     triple_product_lanes<3, float32>\n"
        "  memory     72 MB read, 36 MB written, 16 MB workspace\n"
        "  why        the plan of cpu"
    )


def test_cotangent_may_be_portable_where_the_inverse_is_native(monkeypatch):
    monkeypatch.setattr(_native, "plan", fake_plan)
    first, second = jaxinv.explain((64, 64), np.complex64, "inv_ex", "cuda").split("its cotangent")
    assert first.startswith("jaxinv.inv_ex of 1 complex64 matrix 64 × 64 on cuda\n")
    assert "inverse_lanes<64, complex64>" in first
    assert _PORTABLE in second and "temporaries as XLA decides" in second


@pytest.mark.parametrize("platform", ("tpu", "rocm", "mps", "METAL"))
def test_platforms_without_kernels_say_so(platform):
    text = jaxinv.explain((5, 4, 4), jnp.bfloat16, platform=platform)
    assert text == (
        f"jaxinv.inv of 5 bfloat16 matrices 4 × 4 on {platform}\n"
        f"  algorithm  {_PORTABLE}\n"
        "  kernel     XLA\n"
        "  memory     160 B read, 160 B written, temporaries as XLA decides\n"
        f"  why        jaxinv has no native kernels for platform {platform!r}\n"
        "its cotangent −Xᵀ G Xᵀ\n"
        f"  algorithm  {_PORTABLE}\n"
        "  kernel     XLA\n"
        "  memory     320 B read, 160 B written, temporaries as XLA decides\n"
        f"  why        jaxinv has no native kernels for platform {platform!r}"
    )


@pytest.mark.parametrize("platform", (None, *_native.BACKENDS))
@pytest.mark.parametrize("dtype", ("float16", "bfloat16", "float32", "float64", "complex64", "complex128"))
def test_every_backend_answers(platform, dtype):
    for n in (0, 1, 3, 8, 33, 300):
        text = jaxinv.explain((2, n, n), dtype, platform=platform)
        assert re.search(r"^  why        \S", text, re.MULTILINE), text


@pytest.mark.parametrize(
    ("op", "factorisation"),
    [("pinv", "SVD"), ("lstsq", "SVD"), ("tikhonov_solve", "QR"), ("tikhonov_pinv", "QR")],
)
def test_functions_of_rectangular_matrices(op, factorisation):
    for platform in ("cpu", "tpu"):
        text = jaxinv.explain((7, 60, 512), "float32", op, platform)
        assert text.startswith(
            f"jaxinv.{op} of 7 float32 matrices 60 × 512 on {platform}\n"
            f"  algorithm  {factorisation} of jax.numpy.linalg"
        )
        assert "860.2 kB read, temporaries as XLA decides\n  why        jaxinv has no kernels" in text
        assert f"no further {factorisation}, at any order" in text


@pytest.mark.parametrize(
    ("op", "n", "kernels"),
    [
        ("solve", 3, ["cpu/solve_lanes"] * 2),
        ("inv_rows", 16, ["cpu/solve_lanes"] * 2),
        ("solve_ex", 17, ["cpu/lu_blocked", "cpu/lu_solve"]),
        ("inv_cols", 512, ["cpu/lu_blocked", "cpu/lu_solve"]),
        ("det", 3, ["cpu/lu_lanes"]),
        ("slogdet", 200, ["cpu/lu_blocked", "cpu/inverse_blocked"]),
    ],
)
def test_every_function_names_its_kernels(native, op, n, kernels):
    if native == "cpu":
        text = jaxinv.explain((5, n, n), "float32", op)
        assert re.findall(r"^  kernel     (\S+)$", text, re.MULTILINE) == kernels
    assert jaxinv.explain((5, n, n), "float32", op, "tpu").count(_PORTABLE) == len(kernels)


def test_det_says_how_it_is_differentiated():
    line = "\nits derivative: by the adjugate, from an SVD of jax.numpy.linalg, computed only when"
    for assume_a in ("general", "pos"):
        assert jaxinv.explain((4, 4), "float32", "det", "tpu", assume_a).count(line) == 1
    for op, assume_a in (("slogdet", "general"), ("det", "diagonal"), ("det", "upper triangular")):
        assert "its derivative" not in jaxinv.explain((4, 4), "float32", op, "tpu", assume_a)


def test_says_why_a_backend_is_missing(monkeypatch):
    monkeypatch.setattr(_native, "_disabled", frozenset({"cpu"}))
    text = jaxinv.explain((3, 3), "float32", platform="cpu")
    assert text.count("why        disabled (JAXINV_DISABLE=cpu)") == 2


def test_gpu_means_cuda():
    assert jaxinv.explain((3, 3), "float32", platform="gpu") == jaxinv.explain(
        (3, 3), "float32", platform="cuda"
    )


def test_says_that_64_bit_types_are_off():
    note = "jax_enable_x64 is off: JAX would make a smaller type of float64"
    with jax.enable_x64(False):
        assert jaxinv.explain((3, 3), "float64", platform="tpu").endswith(note)
        assert note not in jaxinv.explain((3, 3), "float32", platform="tpu")
    with jax.enable_x64(True):
        assert note not in jaxinv.explain((3, 3), "float64", platform="tpu")


_DTYPES = "float16, bfloat16, float32, float64, complex64, complex128"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((4, 3), "float32"), ValueError, "expected square matrices (..., n, n), got shape (4, 3)"),
        (((3,), "float32", "pinv"), ValueError, "expected matrices (..., m, n), got shape (3,)"),
        (((3,), "float32"), ValueError, "expected square matrices (..., n, n), got shape (3,)"),
        (((), "float32"), ValueError, "expected square matrices (..., n, n), got shape ()"),
        (((-1, 3, 3), "float32"), ValueError, "expected sizes of 0 or more, got shape (-1, 3, 3)"),
        ((3, "float32"), TypeError, "expected shape to be a tuple of integers, got 3"),
        (((2.0, 2.0), "float32"), TypeError, "expected shape to be a tuple of integers, got (2.0, 2.0)"),
        (((3, 3), "int32"), TypeError, f"expected one of {_DTYPES}, got dtype int32"),
        (((3, 3), "nonsense"), TypeError, f"expected one of {_DTYPES}, got dtype 'nonsense'"),
        (
            ((3, 3), "float32", "svd"),
            ValueError,
            "op must be one of 'inv', 'inv_ex', 'inv_slogdet', 'inv_det', 'inv_rows', 'inv_cols', 'solve', "
            "'solve_ex', 'det', 'slogdet', 'pinv', 'lstsq', 'tikhonov_solve', 'tikhonov_pinv', got 'svd'",
        ),
        (
            ((3, 3), "float32", "inv", 7),
            TypeError,
            "expected platform to be a string or None, got 7",
        ),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=f"^{re.escape(f'jaxinv.explain: {message}')}$"):
        jaxinv.explain(*arguments)


@pytest.mark.parametrize("platform", ("macos", "metal"))
@pytest.mark.parametrize(
    ("n", "kernel"),
    [
        (3, "inverse_thread"),
        (20, "inverse_simdgroup"),
        (60, "inverse_threadgroup"),
        (300, "inverse_grid"),
    ],
)
def test_a_mac_hands_large_calls_over(native, platform, n, kernel):
    """What a Mac does by itself, asked on any machine."""
    if _native.switches()["JAXINV_METAL"] in ("always", "never"):
        pytest.skip("JAXINV_METAL decides")
    kernels = r"^  kernel     (\S+)"
    large = jaxinv.explain((10_000_000 // n**2, n, n), "float32", platform=platform)
    small = jaxinv.explain((1, n, n), "float32", platform=platform)
    double = jaxinv.explain((10_000_000 // n**2, n, n), "float64", platform=platform)
    assert large.splitlines()[0].endswith(f"on {platform}")
    assert re.findall(kernels, large, re.MULTILINE)[0] == f"metal/{kernel}"
    assert re.search(
        r"why        n .*; on the GPU of a Mac: (40|39\.9\d) MB are at least \d MB, the threshold of", large
    )
    assert "(estimates, not measured: M1 4 MB, M2 4 MB, M3 2 MB, M4 2 MB, M5 1 MB)" in large
    assert re.findall(kernels, small, re.MULTILINE)[0].startswith("cpu/")
    assert re.search(r"not on the GPU of a Mac: [\d.e-]+ MB are less than", small)
    assert re.findall(kernels, double, re.MULTILINE)[0].startswith("cpu/")
    assert "not on the GPU of a Mac: " in double


@pytest.mark.parametrize(
    ("op", "assume_a", "n", "kernel"),
    [
        ("solve", "general", 3, "solve_simdgroup"),
        ("solve", "general", 20, "lu_simdgroup"),
        ("solve", "pos", 3, "solve_simdgroup"),
        ("solve", "lower triangular", 32, "solve_simdgroup"),
        ("det", "general", 32, "lu_simdgroup"),
        ("slogdet", "pos", 8, "lu_simdgroup"),
        ("inv", "pos", 32, "triangle_simdgroup"),
        ("inv", "upper triangular", 4, "triangle_simdgroup"),
    ],
)
def test_a_mac_hands_systems_over(native, op, assume_a, n, kernel):
    if _native.switches()["JAXINV_METAL"] in ("always", "never"):
        pytest.skip("JAXINV_METAL decides")
    kernels = r"^  kernel     (\S+)"
    large, small, larger, double = (
        jaxinv.explain((batch, n, n), dtype, op, "macos", assume_a)
        for batch, n, dtype in (
            (10_000_000 // n**2, n, "float32"),
            (1, n, "complex64"),
            (10_000, 33, "float32"),
            (10_000_000 // n**2, n, "float64"),
        )
    )
    found = re.findall(kernels, large, re.MULTILINE)
    assert found[0] == f"metal/{kernel}" and not [name for name in found if name.startswith("cpu/")]
    assert re.search(r"; on the GPU of a Mac: (40|39\.\d+) MB are at least \d MB, the threshold of", large)
    for text, why in (
        (small, "MB are less than"),
        (larger, "n > 32: "),
        (double, "Apple's GPUs have no 64-bit"),
    ):
        assert re.findall(kernels, text, re.MULTILINE)[0].startswith("cpu/")
        assert re.search(rf"not on the GPU of a Mac: .*{why}", text)
