"""The Metal kernels from their shipping sources, on the SIMT emulator of tests/cpp/simt."""

import re
import shutil
import subprocess

import emulated_metal as metal
import matrices
import ml_dtypes
import numpy as np
import pytest
from conftest import missing
from emulated_metal import invert, triple_product
from matrices import DTYPES
from programs import ROOT, once

_SEEDS, _MANY_SEEDS = range(1, 3), range(1, 20)
# Both sides of every edge of the plan.
_EDGES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 24, 25, 31, 32, 33)


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    return once(tmp_path_factory, "metal", metal.build_program)


def _generators(program, n, dtype, kernel="plan", count=1, flags=0):
    names, a = matrices.generate(n, dtype, count)
    x, info, _, _ = invert(program, a, kernel, flags=flags)
    assert not info.any(), names
    matrices.assert_inverse(a, x, names)


@pytest.mark.parametrize("dtype", metal.TYPES)
def test_residuals_of_every_generator(program, dtype):
    for n in _EDGES if matrices.is_half(dtype) else range(1, 33):
        _generators(program, n, dtype, count=2)


_LARGE = [("float32", n) for n in (33, 48, 49, 96, 97)] + [("complex64", n) for n in (48, 64, 65)]
_LARGER = [(dtype, n) for dtype in metal.TYPES for n in (33, 48, 49, 63, 64, 65, 95, 96, 97, 128, 129, 200)]


@pytest.mark.parametrize(("dtype", "n"), _LARGE)
def test_residuals_of_large_matrices(program, dtype, n):
    _generators(program, n, dtype)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "n"), _LARGER)
def test_residuals_of_more_large_matrices(program, dtype, n):
    _generators(program, n, dtype)


@pytest.mark.parametrize("n", [1, 3, 8, 12, 33, 97])
@pytest.mark.parametrize("flags", [0, metal.FLUSH])
def test_denormals(program, n, flags):
    """Also where the device takes them for zero, as Apple's GPUs do."""
    for dtype in metal.TYPES[:: 1 if n <= 12 else 2]:
        a = matrices.denormal(n, dtype)
        x, info, _, _ = invert(program, a, flags=flags)
        assert not info.any()
        matrices.assert_inverse(a, x)
        if flags:
            _generators(program, n, dtype, flags=flags)


def _odd_batch(n, dtype):
    return matrices.odd_batch(n, dtype, _tiny_exponent(dtype), _huge_exponent(dtype))


def _tiny_exponent(dtype):
    return -4 if dtype == "float16" else -110


def _huge_exponent(dtype):
    return 6 if dtype == "float16" else 115


@pytest.mark.parametrize("dtype", metal.TYPES)
def test_singular_and_scaled_matrices_and_determinants(program, dtype):
    for n in (*_EDGES, 64, 65, 97):
        if n > 33 and matrices.is_half(dtype):
            continue
        a, expected = _odd_batch(n, dtype)
        x, info, mantissa, exponent = invert(program, a)
        good = [0, 1, 5, 6]
        assert info.tolist() == expected.tolist(), n
        assert np.isnan(x[info != 0].real.astype(float)).all()
        matrices.assert_inverse(a[good], x[good])
        np.testing.assert_array_equal(x[1], a[1].T)
        assert (mantissa[[2, 7]] == 0).all() and np.isnan(mantissa[[3, 4]]).all()
        assert not exponent[info != 0].any()
        for i in good:
            bits = {5: _tiny_exponent(dtype), 6: _huge_exponent(dtype)}.get(i, 0)
            scaled = a[i].astype(matrices.wide_dtype(dtype)) / 2.0**bits
            sign, log = np.linalg.slogdet(scaled)
            assert 1 <= max(abs(mantissa[i].real), abs(mantissa[i].imag)) < 2
            unit = 10 * n * matrices.eps(dtype) * np.linalg.cond(scaled)
            assert abs(mantissa[i] / abs(mantissa[i]) - sign) <= unit
            got = np.log(abs(mantissa[i]).astype(np.float64)) + (exponent[i] - n * bits) * np.log(2.0)
            assert abs(got - log) <= unit + 1e-13 * abs(log)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
@pytest.mark.parametrize("n", [2, 3, 6, 8, 9, 17, 32, 33, 64, 97])
def test_an_element_that_overflows_is_inf_with_info_zero(program, n, dtype):
    """Entries near both ends of the range in one matrix: no power of two is good for both."""
    a = np.eye(n)
    a[n - 2, n - 1], a[n - 1, n - 1] = 2.0**96, 2.0**-96
    expected = np.eye(n)
    expected[n - 2, n - 1], expected[n - 1, n - 1] = -np.inf, 2.0**96
    x, info, _, _ = invert(program, a[None].astype(DTYPES[dtype]))
    assert info.tolist() == [0]
    np.testing.assert_array_equal(x[0].real.astype(float), expected)


def _assert_bits(first, second):
    for x, y in zip(first, second, strict=True):
        assert x.tobytes() == y.tobytes()


def _schedules(program, n, dtype, seeds):
    a = np.concatenate([_odd_batch(n, dtype)[0]] * (5 if n <= 8 else 1))
    first = invert(program, a)
    for seed in seeds:
        _assert_bits(first, invert(program, a, seed=seed, flags=metal.UNALIGNED))
    if n <= 64:  # groups that take several matrices in turn
        _assert_bits(first, invert(program, a, groups=1))
    for i in (0, len(a) - 2):  # alone, and with nothing else asked for
        alone = invert(program, a[i : i + 1], flags=metal.ONLY)
        _assert_bits([first[0][i : i + 1]], alone[:1])
        assert (alone[1] == -1).all() and (alone[3] == -1).all()  # as they were


@pytest.mark.parametrize("dtype", metal.TYPES)
def test_bits_depend_neither_on_the_schedule_nor_on_the_batch(program, dtype):
    for n in (*_EDGES, 64) if dtype == "float32" else (3, 7, 20):
        _schedules(program, n, dtype, _SEEDS)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", metal.TYPES)
@pytest.mark.parametrize("n", [*range(1, 34), 48, 64, 65, 96, 97, 140])
def test_bits_do_not_depend_on_any_of_many_schedules(program, n, dtype):
    _schedules(program, n, dtype, _MANY_SEEDS)


@pytest.mark.parametrize(
    ("dtype", "n", "kernels"),
    [
        ("float32", 5, ("thread", "threadgroup", "grid")),
        ("float32", 8, ("thread", "threadgroup", "grid")),
        ("float32", 9, ("simdgroup", "threadgroup", "grid")),
        ("float32", 32, ("simdgroup", "threadgroup", "grid")),
        ("float32", 70, ("threadgroup", "grid")),
        ("complex64", 4, ("thread", "threadgroup", "grid")),
        ("complex64", 7, ("simdgroup", "threadgroup", "grid")),
        ("complex64", 25, ("simdgroup", "threadgroup", "grid")),
    ],
)
def test_every_kernel_does_the_same_arithmetic(program, dtype, n, kernels):
    """Who holds which number changes the order of the work, not that of the roundings."""
    a = matrices.well_conditioned((3, n, n), dtype)
    first = invert(program, a, kernels[0])
    for kernel in kernels[1:]:
        other = invert(program, a, kernel)
        for x, y in zip(first[:2], other[:2], strict=True):
            np.testing.assert_array_equal(x, y)
        # Determinants are multiplied in different orders.
        ratio = other[2] / first[2] * np.exp2((other[3] - first[3]).astype(np.float64))
        assert (abs(ratio - 1) < 4 * n * matrices.eps(dtype)).all()


@pytest.mark.parametrize("batch", [1, 16, 256, 1024, 8192, 32768])
def test_camera_matrices(program, batch):
    rng = matrices.rng_for("cameras", batch)
    a = np.tile(np.eye(3, dtype=np.float32), (batch, 1, 1))
    a[:, 0, 0], a[:, 1, 1] = rng.uniform(300, 2000, (2, batch))
    a[:, :2, 2] = rng.uniform(100, 1000, (batch, 2))
    a[0] = matrices.CAMERA
    x, info, _, _ = invert(program, a)
    assert not info.any()
    matrices.assert_inverse(a, x)


def _triple_product(program, n, batch, dtype, flags, seeds=_SEEDS):
    rng = matrices.rng_for("triple", n, dtype, flags)
    l, g, r = (matrices.normal(rng, (batch, n, n), np.dtype(dtype)).astype(dtype) for _ in range(3))
    operands = (l, g) if flags & metal.SAME else (l, g, r)
    y = triple_product(program, *operands, flags=flags)
    wide = [x.astype(matrices.wide_dtype(dtype)) for x in (l, g, l if flags & metal.SAME else r)]
    wide = [np.swapaxes(x, 1, 2) if flags >> i & 1 else x for i, x in enumerate(wide)]
    expected = -wide[0] @ wide[1] @ wide[2]
    scale = n * matrices.eps(dtype) * np.prod([matrices.norm1(x) for x in wide], axis=0)
    rounded = 0
    if matrices.is_half(dtype):
        subnormal = float(ml_dtypes.finfo(np.dtype(dtype)).smallest_subnormal)
        rounded = matrices.ulp(dtype) / 2 * matrices.norm1(expected) + n * subnormal
    assert (matrices.norm1(y - expected) <= 8 * scale + rounded).all(), (n, flags)
    for seed in seeds:
        again = triple_product(program, *operands, seed=seed, groups=1, flags=flags | metal.UNALIGNED)
        _assert_bits([y], [again])
    last = [x[-1:] for x in operands]
    _assert_bits([y[-1:]], [triple_product(program, *last, flags=flags)])


@pytest.mark.parametrize("dtype", metal.TYPES)
def test_triple_products(program, dtype):
    for n in range(1, 33):
        _triple_product(program, n, 40 if n <= 4 else 9, dtype, (5 * n + 8) % 16, seeds=(n,))


@pytest.mark.parametrize("n", [3, 6])
def test_triple_products_of_all_transposes(program, n):
    for flags in range(16):
        _triple_product(program, n, 5, "float32", flags)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", metal.TYPES)
@pytest.mark.parametrize("n", [1, 3, 4, 5, 8, 11, 16, 20, 29, 32])
def test_triple_products_on_many_schedules(program, n, dtype):
    for flags in (0, metal.SAME | metal.TRANSPOSE_L | metal.TRANSPOSE_R, metal.TRANSPOSE_G):
        _triple_product(program, n, 40 if n <= 4 else 9, dtype, flags, _MANY_SEEDS)


def test_runs_fit_the_device(program):
    """Whatever the batch: groups that can be asked for, kernels that are there, threads that they have."""
    for dtype in metal.TYPES:
        for n in (*_EDGES, 48, 64, 65, 96, 97, 129, 1000):
            for batch in (1, 33, 2**37 // (n * n)):
                for name, groups, threads, most, memory in metal.runs(program, n, batch, dtype):
                    assert 0 < groups < 2**31 and threads % 32 == 0, name
                    assert 0 < threads <= most <= 512 and memory <= 32768, name


# What shows a missing barrier in a file: kernels and sizes.
_INVERSES = {
    "inverse_thread": [("plan", 3)],
    "inverse_simdgroup": [("plan", 12)],
    "inverse_threadgroup": [("plan", 33), ("plan", 49)],
    "results": [("plan", 40)],
    "grid_panel": [("grid", 66)],
    "grid_update": [("grid", 66)],
}


def _problems(place):
    """Functions of (program, seed, without) whose results a barrier may change."""
    family = re.match(r"metal/(\w+)\.h", place)[1]
    for kernel, n in _INVERSES.get(family, ()):
        a = np.concatenate([_odd_batch(n, "float32")[0]] * (5 if n <= 8 else 1))
        options = {"kernel": kernel, "groups": int(kernel == "plan")}
        yield lambda program, seed, without, a=a, o=options: invert(
            program, a, seed=seed, without=without, **o
        )
    for n in (3,) if family == "triple_product_thread" else (6, 20) if "triple" in family else ():
        l, g, r = matrices.well_conditioned((3, 40 if n == 3 else 9, n, n), "float32")
        options = {"groups": 1, "flags": metal.TRANSPOSE_G}
        yield lambda program, seed, without, x=(l, g, r), o=options: [
            triple_product(program, *x, seed=seed, without=without, **o)
        ]


_FILES = (*_INVERSES, "triple_product_thread", "triple_product_simdgroup")


def test_a_missing_barrier_shows(program):
    first = {place.split(":")[0]: place for place in reversed(list(metal.barriers(_FILES)))}
    assert len(first) == 8
    assert not [place for place in first.values() if not metal.shows(program, place, _problems(place))]


@pytest.mark.slow
def test_every_barrier_is_needed(program):
    """One at a time is left out: some result changes with the schedule."""
    places = metal.barriers(_FILES)
    assert not [place for place in places if not metal.shows(program, place, _problems(place))]


@pytest.mark.parametrize(
    "source",
    [
        path if path.stem == "triple_product" else pytest.param(path, marks=pytest.mark.slow)
        for path in sorted(ROOT.glob("metal/*.metal"))
    ],
    ids=lambda path: path.name,
)
def test_sources_compile_as_cuda_without_stack_frames(source, tmp_path):
    """A register array whose index is not known to the compiler would be a stack frame, on a Mac too."""
    if not shutil.which("nvcc"):
        missing("cuda-compile", "nvcc is not on the PATH")
    command = ["nvcc", "-std=c++14", "-arch=sm_90", "--expt-relaxed-constexpr", "-diag-suppress=1097"]
    command += ["-I.", "-Itests/cpp/gpu", "-Itests/cpp/msl/cuda", "-D__METAL_VERSION__=310", "-Xptxas=-v"]
    command += ["-x", "cu", "-cubin", str(source), "-o", str(tmp_path / "cubin")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    frames = re.findall(r"(\d+) bytes stack frame", done.stderr)
    assert frames and set(frames) == {"0"}, done.stderr


@pytest.mark.sanitisers
def test_kernels_with_address_and_undefined_behaviour_sanitisers(tmp_path):
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    program = metal.build_program(tmp_path, flags)
    for dtype in metal.TYPES:
        for n in (1, 3, 6, 8, 9, 20, 33, 49, 64, 65, 97):
            invert(program, _odd_batch(n, dtype)[0], flags=metal.UNALIGNED)
            if n <= 32:
                _triple_product(program, n, 5, dtype, 0, seeds=(1,))
