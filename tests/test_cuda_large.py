"""The CUDA kernels of the large sizes (block and grid) from their shipping sources, on the SIMT emulator."""

import subprocess

import matrices
import numpy as np
import pytest
from matrices import DTYPES
from programs import EMULATED, ROOT, build, find_compiler, inverse_results

KERNELS = {"block": 0, "grid": 1, "tall": 2}  # tall: the grid with panels in memory


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cuda")
    sources = ["tests/cpp/cuda_invert.cc", "tests/cpp/simt/simt.cc"]
    return build(find_compiler(), folder, sources, EMULATED)


def invert(program, a, kernel, seed=0, without=None):
    """(inverse, info, mantissa, exponent) of a batch of matrices; `without` the barrier of a place."""
    batch, n = a.shape[:2]
    head = np.array([list(DTYPES.values()).index(a.dtype), n, batch, seed, KERNELS[kernel]], np.int64)
    done = subprocess.run(
        [str(program), *([without] if without else [])],
        input=head.tobytes() + a.tobytes(),
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    return inverse_results(done.stdout, a)


def assert_bits(x, y):
    assert x.tobytes() == y.tobytes()


# Edges of panels (4 ... 32 columns), of steps applied at once (32 or 64) and of tiles (64 or 128).
CASES = [("block", 33, dtype) for dtype in DTYPES]
CASES += [
    ("grid", 65, "float32"),
    ("grid", 34, "float64"),
    ("grid", 34, "complex64"),
    ("grid", 33, "float16"),
]
CASES += [("tall", 70, "float32"), ("tall", 66, "complex128")]
LARGER = {"block": [36, 63, 64, 65, 100, 111], "grid": [33, 64, 96, 97, 128, 129], "tall": [65, 129]}
MORE = [(kernel, n, dtype) for kernel in LARGER for n in LARGER[kernel] for dtype in DTYPES]


def _generators(program, kernel, n, dtype):
    names, a = matrices.generate(n, dtype, count=2)
    x, info, _, _ = invert(program, a, kernel)
    assert not info.any(), names
    matrices.assert_inverse(a, x, names)


@pytest.mark.parametrize(("kernel", "n", "dtype"), CASES)
def test_residuals_of_every_generator(program, kernel, n, dtype):
    _generators(program, kernel, n, dtype)


@pytest.mark.slow
@pytest.mark.parametrize(("kernel", "n", "dtype"), MORE)
def test_residuals_of_every_generator_at_more_sizes(program, kernel, n, dtype):
    _generators(program, kernel, n, dtype)


@pytest.mark.slow
@pytest.mark.parametrize(("kernel", "n"), [("block", 220), ("grid", 221), ("grid", 300), ("tall", 300)])
def test_residuals_of_large_matrices(program, kernel, n):
    _generators(program, kernel, n, "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@pytest.mark.parametrize(("kernel", "n"), [("block", 37), ("grid", 66), ("tall", 66)])
def test_singular_and_scaled_matrices_and_determinants(program, kernel, n, dtype):
    a, expected = matrices.odd_batch(n, dtype)
    x, info, mantissa, exponent = invert(program, a, kernel)
    good = [0, 1, 5, 6]
    assert info.tolist() == expected.tolist()
    assert np.isnan(x[info != 0]).all()
    matrices.assert_inverse(a[good], x[good])
    np.testing.assert_array_equal(x[1], a[1].T)
    assert (mantissa[[2, 7]] == 0).all() and np.isnan(mantissa[[3, 4]]).all()
    assert not exponent[info != 0].any()
    for i in good:
        scale = 2.0 ** {5: -110, 6: 115}.get(i, 0)
        sign, log = np.linalg.slogdet((a[i] / a.dtype.type(scale)).astype(matrices.wide_dtype(dtype)))
        largest = max(abs(mantissa[i].real), abs(mantissa[i].imag))
        assert 1 <= largest < 2
        unit = 10 * n * matrices.eps(dtype) * np.linalg.cond(a[i] / a.dtype.type(scale))
        assert abs(mantissa[i] / abs(mantissa[i]) - sign) <= unit
        got = np.log(abs(mantissa[i]).astype(np.float64)) + (exponent[i] - n * np.log2(scale)) * np.log(2.0)
        assert abs(got - log) <= unit + 1e-13 * abs(log)


@pytest.mark.parametrize("dtype", ["float32", "complex128", "bfloat16"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_an_element_that_overflows_is_inf_with_info_zero(program, kernel, dtype):
    n, exponent = 66, 768 if dtype == "complex128" else 96
    a = np.eye(n)
    a[n - 2, n - 1], a[n - 1, n - 1] = 2.0**exponent, 2.0**-exponent
    expected = np.eye(n)
    expected[n - 2, n - 1], expected[n - 1, n - 1] = -np.inf, 2.0**exponent
    x, info, _, _ = invert(program, a[None].astype(DTYPES[dtype]), kernel)
    assert info.tolist() == [0]
    np.testing.assert_array_equal(x[0].real.astype(float), expected)


def _schedules(program, kernel, n, dtype, seeds):
    a, _ = matrices.odd_batch(n, dtype)
    first = invert(program, a, kernel)
    for seed in seeds:
        for x, y in zip(first, invert(program, a, kernel, seed), strict=True):
            assert_bits(x, y)
    alone = invert(program, a[6:7], kernel)
    for x, y in zip(first, alone, strict=True):
        assert_bits(x[6:7], y)


@pytest.mark.parametrize(("kernel", "n"), [("block", 45), ("grid", 67), ("tall", 71)])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_bits_depend_neither_on_the_schedule_nor_on_the_batch(program, kernel, n, dtype):
    _schedules(program, kernel, n, dtype, range(1, 3))


@pytest.mark.slow
@pytest.mark.parametrize(("kernel", "n"), [("block", 111), ("grid", 140), ("tall", 140)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_any_of_many_schedules(program, kernel, n, dtype):
    _schedules(program, kernel, n, dtype, range(1, 20))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 4, 32, 33, 65, 97])
def test_every_kernel_does_the_same_arithmetic(program, n, dtype):
    """Panels, tiles and rows per thread change the order of the work, not that of the roundings."""
    a = matrices.well_conditioned((2, n, n), dtype)
    first = invert(program, a, "block")
    for kernel in ("grid", "tall"):
        for x, y in zip(first, invert(program, a, kernel), strict=True):
            assert_bits(x, y)


FILES_OF = {
    "block": ["/panel", "results", "inverse_block"],
    "grid": ["/panel", "results", "grid"],
    "tall": ["grid"],
}


def _barriers():
    for name in ("panel", "results", "inverse_block", "inverse_grid", "grid_panel", "grid_update"):
        for number, line in enumerate((ROOT / f"cuda/{name}.cuh").read_text().splitlines(), 1):
            if any(f"__{call}(" in line for call in ("syncthreads", "syncwarp", "barrier_sync_count")):
                yield f"cuda/{name}.cuh:{number}"


def _shows(program, barrier, a, kernel, expected):
    if not any(name in barrier for name in FILES_OF[kernel]):
        return False
    for seed in range(40):
        try:
            got = invert(program, a, kernel, seed, without=barrier)
        except AssertionError:  # the emulator saw the threads part
            return True
        if any(x.tobytes() != y.tobytes() for x, y in zip(got, expected, strict=True)):
            return True
    return False


def _missed(program, barriers):
    batches = {
        kernel: matrices.odd_batch(37 if kernel == "block" else 66, "float32")[0] for kernel in KERNELS
    }
    expected = {kernel: invert(program, a, kernel) for kernel, a in batches.items()}
    return [
        barrier
        for barrier in barriers
        if not any(_shows(program, barrier, a, kernel, expected[kernel]) for kernel, a in batches.items())
    ]


def test_a_missing_barrier_shows(program):
    first = {barrier.split(":")[0]: barrier for barrier in reversed(list(_barriers()))}
    assert not _missed(program, first.values())


@pytest.mark.slow
def test_every_barrier_is_needed(program):
    """One at a time is left out: some result changes with the schedule."""
    assert not _missed(program, _barriers())
