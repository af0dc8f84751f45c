"""Runs the Metal kernels, from their shipping sources, on the SIMT emulator."""

import itertools
import re
import subprocess

import numpy as np
from matrices import DTYPES
from programs import (
    EMULATED_METAL,
    METAL_SOURCES,
    ROOT,
    build,
    build_metal_kernels,
    find_compiler,
    inverse_results,
)

TYPES = ("float32", "float16", "bfloat16", "complex64")
# Algorithms of core/plan.h.
KERNELS = {"plan": -1, "thread": 5, "grid": 8, "simdgroup": 9, "threadgroup": 10}
TRANSPOSE_L, TRANSPOSE_G, TRANSPOSE_R, SAME, ONLY, FLUSH, UNALIGNED, _SHOW = (1 << i for i in range(8))
OPERATIONS = ("inverse", "triple_product", "lu_factor", "determinant", "solve", "lu_solve")
STRUCTURES = ("general", "pos upper", "pos lower", "upper triangular", "lower triangular")


def build_program(folder, flags=()):
    compiler = find_compiler()
    objects = build_metal_kernels(compiler, folder, flags)
    sources = [*objects, *METAL_SOURCES, "tests/cpp/metal_kernels_test.cc"]
    return build(compiler, folder, sources, [*EMULATED_METAL, *flags])


def _run(program, operation, shape, dtype, operands, options) -> bytes:
    """The program's output; shape: (n, batch), options as of the functions below."""
    (n, batch), columns = shape, options.get("columns", 0)
    head = [list(DTYPES.values()).index(np.dtype(dtype)), n, batch, options.get("seed", 0)]
    head += [KERNELS[options.get("kernel", "plan")], options.get("groups", 0), options.get("flags", 0)]
    head += [OPERATIONS.index(operation), STRUCTURES.index(options.get("structure", "general")), columns]
    without = options.get("without")
    done = subprocess.run(
        [str(program), *([without] if without else [])],
        input=np.array(head, np.int64).tobytes() + b"".join(x.tobytes() for x in operands),
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def _results(data: bytes, *shapes) -> list[np.ndarray]:
    """Arrays of these (dtype, shape), one behind the other."""
    out, at = [], 0
    for dtype, shape in shapes:
        count = int(np.prod(shape))
        out.append(np.frombuffer(data, dtype, count, at).reshape(shape))
        at += out[-1].nbytes
    assert at == len(data)
    return out


def invert(program, a, kernel="plan", **options):
    """(inverse, info, mantissa, exponent) of a batch of matrices.

    options: `seed` of the schedule, `groups` at most, `flags`, `structure`, `without` the barrier of a place.
    """
    batch, n = a.shape[:2]
    data = _run(program, "inverse", (n, batch), a.dtype, [a], {**options, "kernel": kernel})
    return inverse_results(data, a)


def triple_product(program, l, g, r=None, *, flags=0, **options):
    """−op(l) op(g) op(r); r is l where it is left out."""
    batch, n = g.shape[:2]
    options["flags"] = flags | (SAME if r is None else 0)
    operands = [l, g] if r is None else [l, g, r]
    data = _run(program, "triple_product", (n, batch), g.dtype, operands, options)
    return np.frombuffer(data, g.dtype).reshape(g.shape)


def lu_factor(program, a, **options):
    """(lu, permutation, info)."""
    return _factor(program, a, "lu_factor", options)[:3]


def determinant(program, a, **options):
    """(mantissa, exponent)."""
    return _factor(program, a, "determinant", options)[3:]


def _factor(program, a, operation, options):
    batch, n = a.shape[:2]
    data = _run(program, operation, (n, batch), a.dtype, [a], options)
    one = (batch,)
    shapes = [(a.dtype, a.shape), (np.int32, (batch, n)), (np.int32, one), (a.dtype, one), (np.int32, one)]
    return _results(data, *shapes)


def solve(program, a, b, permutation=None, *, transpose=False, flags=0, **options):
    """(x, info) with op(a) x = b; where there is a permutation, a are factors, and info is as it was."""
    options |= {"columns": b.shape[-1], "flags": flags | (TRANSPOSE_L if transpose else 0)}
    operation, operands = ("solve", [a, b]) if permutation is None else ("lu_solve", [a, permutation, b])
    data = _run(program, operation, a.shape[1::-1], a.dtype, operands, options)
    return _results(data, (b.dtype, b.shape), (np.int32, b.shape[:1]))


def runs(program, n, batch, dtype, operation="inverse", **options):
    """(function, groups, threads, threads at most, bytes of threadgroup memory) of each kernel run."""
    data = _run(program, operation, (n, batch), DTYPES[dtype], [], {**options, "flags": _SHOW})
    lines = (line.split() for line in data.decode().splitlines())
    return [(name, *map(int, numbers)) for name, *numbers in lines]


def barriers(files):
    """The places of barriers in these headers of metal/, but those that the emulator does not need.

    A shuffle orders memory there, on a device it does not: the line before such a barrier says so.
    """
    for name in sorted(files):
        lines = (ROOT / f"metal/{name}.h").read_text().splitlines()
        for number, (before, line) in enumerate(itertools.pairwise(lines), 2):
            found = re.search(r"(simdgroup|threadgroup)_barrier\(", line)
            if found and "shuffles order no memory" not in before:
                yield f"metal/{name}.h:{number}"


def shows(program, place, problems):
    """Whether some result changes with the schedule where the barrier of a place is left out."""
    for problem in problems:
        expected = problem(program, 0, None)
        for seed in range(40):
            try:
                got = problem(program, seed, place)
            except AssertionError:  # the emulator saw the threads part
                return True
            if any(x.tobytes() != y.tobytes() for x, y in zip(got, expected, strict=True)):
                return True
    return False
