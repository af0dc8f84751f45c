"""Inverses of every generator, dtype, size and batch pass the residual and forward-error gates."""

import jax
import matrices
import numpy as np
import pytest
from jax import numpy as jnp
from matrices import DTYPES, assert_inverse

import jaxinv
from jaxinv import _native

ALL = list(DTYPES)
BATCHES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 97, 1009)


def check_all_generators(n, dtype, count, flushed):
    names, a = matrices.generate(n, DTYPES[dtype], count)
    assert_inverse(a, jaxinv.inv(a), names, flushed)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", range(34))
def test_every_small_size(n, dtype, flushed):
    check_all_generators(n, dtype, 4, flushed)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", (0, 3, 17, 65))
@pytest.mark.thinned("n", "dtype")
def test_portable_path(portable, n, dtype, flushes):
    check_all_generators(n, dtype, 2, flushes)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", (64, 100, 128))
def test_middle_sizes(n, dtype, flushed):
    check_all_generators(n, dtype, 1, flushed)


@pytest.mark.parametrize("dtype", ("float32", "float64", "complex64"))
@pytest.mark.parametrize("n", (200, 256))
def test_large_sizes(n, dtype, flushed):
    check_all_generators(n, dtype, 1, flushed)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", (255, 257, 512, 1000))
def test_largest_sizes(n, dtype, flushed):
    check_all_generators(n, dtype, 1, flushed)


@pytest.mark.parametrize("dtype", ALL)
def test_both_sides_of_every_edge_of_the_plan(native, dtype):
    kernels = [_native.plan(native, "inverse", n, DTYPES[dtype])["kernel"] for n in range(1, 258)]
    edges = [n for n in range(1, 257) if kernels[n - 1] != kernels[n]]
    sizes = sorted({m for n in edges for m in (n, n + 1)})
    assert all(kernels), kernels
    for n in sizes:
        check_all_generators(n, dtype, 1, flushed=False)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_blocks_of_panels(native, dtype):
    """From n = 640 on, several panels at once: the same bits as below, where one follows the other.

    (Not of complex numbers: compilers may fuse their four products in another order.)
    """
    n = 639
    a = matrices.well_conditioned((2, n, n), DTYPES[dtype])
    wider = np.zeros((2, n + 1, n + 1), a.dtype)
    wider[:, :n, :n] = a
    wider[:, n, n] = 1
    x = np.asarray(jaxinv.inv(wider))
    if a.dtype.kind == "f":
        np.testing.assert_array_equal(x[:, :n, :n], jaxinv.inv(a))
    assert_inverse(wider, x)
    # A panel that is not the first of its block fails, and takes nothing else with it.
    wider[0, :, 300] = 0
    again, info = jaxinv.inv_ex(wider)
    assert info.tolist() == [301, 0] and np.isnan(again[0]).all()
    np.testing.assert_array_equal(again[1], x[1])


@pytest.mark.parametrize(
    ("n", "dtype"),
    [
        (1, "float32"),
        (3, "float32"),
        (8, "float32"),
        (33, "float32"),
        (3, "float64"),
        (3, "complex64"),
        (4, "bfloat16"),
        (2, "complex128"),
    ],
)
def test_every_batch_size(n, dtype, flushed):
    for batch in BATCHES:
        a = matrices.well_conditioned((batch, n, n), DTYPES[dtype], kappa=100)
        assert_inverse(a, jaxinv.inv(a), [f"batch of {batch}"] * batch, flushed)


@pytest.mark.parametrize(
    ("n", "dtype"), [(1, "float64"), (2, "float16"), (3, "float32"), (4, "complex64"), (5, "float32")]
)
def test_large_batch(n, dtype, flushed):
    a = matrices.well_conditioned((65536, n, n), DTYPES[dtype], kappa=1000 if dtype != "float16" else 10)
    assert_inverse(a, jaxinv.inv(a), None, flushed)


@pytest.mark.parametrize("dtype", ("float32", "float64", "complex64", "complex128"))
@pytest.mark.parametrize("n", (5, 6, 8, 10, 13, 17))
def test_columns_in_different_units(native, n, dtype):
    """Powers of two, from nearly the same to far apart: each row of the inverse keeps its own accuracy."""
    well = matrices.well_conditioned((37, n, n), DTYPES[dtype])
    bits = np.linspace(0, 100, 37)[:, None] * np.linspace(0, 1, n)
    units = np.exp2(matrices.rng_for("units", n).permuted(bits.astype(int), axis=-1))[:, None, :]
    a = (well / units).astype(well.dtype)
    x = np.asarray(jaxinv.inv(a))
    assert_inverse(well, (x / matrices.transpose(units)).astype(x.dtype))


@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (2, 1, 3), (1, 2, 3, 1, 2), (1,) * 12], ids=str)
def test_any_batch_rank(batch, flushed):
    a = matrices.well_conditioned((*batch, 4, 4), np.float32)
    x = jaxinv.inv(a)
    assert_inverse(a, x, None, flushed)
    flat = jaxinv.inv_ex(a)
    assert flat.info.shape == batch and not flat.info.any()


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize(
    "shape", [(0, 0), (3, 0, 0), (0, 3, 3), (2, 0, 5, 5), (0, 0, 0), (0, 40, 40)], ids=str
)
def test_empty(shape, dtype):
    dtype = DTYPES[dtype]
    a = np.zeros(shape, dtype)
    batch = shape[:-2]
    x, info = jaxinv.inv_ex(a)
    y, sign, logabsdet = jaxinv.inv_slogdet(a)
    z, det = jaxinv.inv_det(a)
    assert {v.shape for v in (jaxinv.inv(a), x, y, z)} == {shape}
    assert {v.dtype for v in (jaxinv.inv(a), x, y, z, sign, det)} == {dtype}
    assert info.dtype == np.int32 and logabsdet.dtype == matrices.real_dtype(dtype)
    # The empty product: determinant 1.
    np.testing.assert_array_equal(info, np.zeros(batch))
    np.testing.assert_array_equal(sign, np.ones(batch, dtype))
    np.testing.assert_array_equal(det, np.ones(batch, dtype))
    np.testing.assert_array_equal(logabsdet, np.zeros(batch, logabsdet.dtype))


@pytest.mark.parametrize("dtype", ALL)
def test_camera_intrinsics(path, dtype, flushes):
    a = matrices.CAMERA.astype(DTYPES[dtype])
    assert_inverse(a, jaxinv.inv(a), ["MLX issue 1238"], flushes and path == "portable")


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("x64", [True, False])
def test_integers_promote_to_the_default_float(dtype, x64):
    a = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 1]], dtype)
    with jax.enable_x64(x64):
        x = jaxinv.inv(a)
        x_ex, info = jaxinv.inv_ex(a)
        det = jaxinv.inv_det(a).det
    expected = np.array([[1, 0, -1], [0, 1, -1], [0, 0, 1]], np.float64 if x64 else np.float32)
    assert x.dtype == x_ex.dtype == det.dtype == expected.dtype
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(x_ex, expected)
    assert info == 0 and det == 1


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", (1, 2, 3, 4, 7, 16, 33, 70))
@pytest.mark.thinned("n", "dtype")
def test_every_function_gives_the_same_inverse_bit_for_bit(n, dtype):
    _, a = matrices.generate(n, DTYPES[dtype], 1)
    x = np.asarray(jaxinv.inv(a))
    for f in (jaxinv.inv_ex, jaxinv.inv_slogdet, jaxinv.inv_det):
        assert np.asarray(f(a).inverse).tobytes() == x.tobytes(), f.__name__


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("n", (3, 9, 40))
def test_layout_of_the_argument_does_not_matter(n, dtype, flushed):
    a = matrices.well_conditioned((5, n, n), DTYPES[dtype])
    expected = np.asarray(jaxinv.inv(a)).tobytes()
    strided = np.zeros((5, 2 * n, 3 * n), a.dtype)[:, ::2, ::3]
    strided[...] = a
    for same in (np.asfortranarray(a), strided, jnp.asarray(a)):
        assert np.asarray(jaxinv.inv(same)).tobytes() == expected
    transposed = matrices.transpose(a)
    assert_inverse(transposed, jax.jit(lambda a: jaxinv.inv(jnp.matrix_transpose(a)))(a), None, flushed)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128", "bfloat16"])
@pytest.mark.parametrize("n", (1, 3, 4, 9, 33))
def test_native_kernels_honour_denormals(native, n, dtype):
    a = matrices.denormal(n, DTYPES[dtype])
    tiny = float(jnp.finfo(a.dtype).tiny)
    assert (np.abs(a.astype(np.complex128)) < tiny).any()
    assert_inverse(a, jaxinv.inv(a), None)
    # And on the way out.
    x = np.asarray(jaxinv.inv(jaxinv.inv(a)))
    assert_inverse(np.asarray(jaxinv.inv(a)), x, None)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_the_gate_rejects_what_is_wrong(dtype):
    # kappa is 1000: an error of 100 n eps kappa is far below any flat tolerance for float64.
    n = 6
    a = matrices.well_conditioned((3, n, n), DTYPES[dtype], kappa=1000)
    x = matrices.reference(a)
    assert_inverse(a, x.astype(a.dtype))
    assert max(np.max(r) for r in matrices.residuals(a, x.astype(a.dtype))) < 1
    noise = 100 * n * matrices.eps(dtype) * matrices.norm1(x)[:, None, None] * np.sign(x.real)
    for wrong in (x + noise * 1000, matrices.transpose(x), x * 0, x * np.nan, -x):
        with pytest.raises(AssertionError, match=r"inverses fail; the first: matrix, n = 6"):
            assert_inverse(a, wrong.astype(a.dtype))


@pytest.mark.slow
def test_more_than_two_to_the_31_elements(native):
    batch = 2**31 // 9 + 8
    one = matrices.well_conditioned((3, 3), np.float16)
    a = jnp.broadcast_to(one, (batch, 3, 3))
    # Only the last matrix is another one: an index that wraps would miss it.
    a = a.at[-1].set(2 * one)
    x = jaxinv.inv(a)
    expected = np.asarray(jaxinv.inv(jnp.stack([one, 2 * one])))
    np.testing.assert_array_equal(x[:4], expected[:1].repeat(4, 0))
    np.testing.assert_array_equal(x[-2:], expected)
