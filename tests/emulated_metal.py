"""Runs the Metal kernels, from their shipping sources, on the SIMT emulator."""

import subprocess

import numpy as np
from matrices import DTYPES
from programs import EMULATED_METAL, METAL_SOURCES, build, build_metal_kernels, find_compiler, inverse_results

TYPES = ("float32", "float16", "bfloat16", "complex64")
# Algorithms of core/plan.h.
KERNELS = {"plan": -1, "thread": 4, "grid": 7, "simdgroup": 8, "threadgroup": 9}
TRANSPOSE_L, TRANSPOSE_G, TRANSPOSE_R, SAME, ONLY, FLUSH, UNALIGNED = (1 << i for i in range(7))
_INVERT, _TRIPLE, _SHOW = range(3)


def build_program(folder, flags=()):
    compiler = find_compiler()
    objects = build_metal_kernels(compiler, folder, flags)
    sources = [*objects, *METAL_SOURCES, "tests/cpp/metal_kernels_test.cc"]
    return build(compiler, folder, sources, [*EMULATED_METAL, *flags])


def _run(program, head, operands, without) -> bytes:
    done = subprocess.run(
        [str(program), *([without] if without else [])],
        input=np.array(head, np.int64).tobytes() + b"".join(x.tobytes() for x in operands),
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def _index(dtype) -> int:
    return list(DTYPES.values()).index(np.dtype(dtype))


def invert(program, a, kernel="plan", *, seed=0, groups=0, flags=0, without=None):
    """(inverse, info, mantissa, exponent) of a batch of matrices; `without` the barrier of a place."""
    batch, n = a.shape[:2]
    head = [_index(a.dtype), n, batch, seed, KERNELS[kernel], groups, flags, _INVERT]
    data = _run(program, head, [a], without)
    return inverse_results(data, a)


def triple_product(program, l, g, r=None, *, seed=0, groups=0, flags=0, without=None):
    """−op(l) op(g) op(r); r is l where it is left out."""
    batch, n = g.shape[:2]
    flags |= SAME if r is None else 0
    head = [_index(g.dtype), n, batch, seed, -1, groups, flags, _TRIPLE]
    data = _run(program, head, [l, g] if r is None else [l, g, r], without)
    return np.frombuffer(data, g.dtype).reshape(g.shape)


def runs(program, n, batch, dtype):
    """(function, groups, threads, threads at most, bytes of threadgroup memory) of each kernel run."""
    head = [_index(DTYPES[dtype]), n, batch, 0, -1, 0, 0, _SHOW]
    lines = (line.split() for line in _run(program, head, [], None).decode().splitlines())
    return [(name, *map(int, numbers)) for name, *numbers in lines]
