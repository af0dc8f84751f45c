"""Builds and runs the C++ test programs."""

import concurrent.futures
import fcntl
import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator

import matrices
import numpy as np
from conftest import missing

ROOT = pathlib.Path(__file__).parent.parent

_VALUES = ("float", "double", "Complex<float>", "Complex<double>")
# For CUDA kernels on the SIMT emulator. JAXINV_UNROLL empty: loops stay loops, and compile in a third of the
# time.
EMULATED = ["-Itests/cpp/simt", "-DJAXINV_UNROLL=", "-Wno-unknown-pragmas", "-fno-strict-aliasing"]
EMULATED += ["-ffp-contract=fast", "-Wextra"]


# For Metal kernels on the same emulator. -ffp-contract=off: kernels say where a product and a sum round once.
EMULATED_METAL = ["-Itests/cpp/simt", "-Itests/cpp/msl", "-DJAXINV_UNROLL=", "-Wno-unknown-pragmas"]
EMULATED_METAL += ["-fno-strict-aliasing", "-ffp-contract=off", "-Wextra"]
# What runs them: the emulator and the dispatches, for the host's language.
METAL_SOURCES = ["tests/cpp/msl/msl.cc", "tests/cpp/simt/simt.cc", "metal/dispatch.cc", "core/plan.cc"]


def find_compiler() -> str:
    name = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not name:
        missing("compiler", "there is no C++ compiler")
    return name


def build(compiler, folder, sources, flags, name="program") -> pathlib.Path:
    program = folder / name
    command = [compiler, "-std=c++17", "-O1", "-g1", "-I.", "-Wall", "-Wno-psabi", *flags, *sources]
    built = subprocess.run([*command, "-o", str(program)], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return program


def run(program, *arguments, timeout=120) -> str:
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_and_run(compiler, folder, sources, flags) -> str:
    return run(build(compiler, folder, sources, flags))


def inverse_results(data: bytes, a: np.ndarray) -> list[np.ndarray]:
    """Inverse, info, mantissa and exponent of a batch (k, n, n), as the runners of GPU kernels write them."""
    out, at = [], 0
    for dtype, shape in (
        (a.dtype, a.shape),
        (np.int32, a.shape[:1]),
        (matrices.compute_dtype(a.dtype), a.shape[:1]),
        (np.int32, a.shape[:1]),
    ):
        count = int(np.prod(shape))
        out.append(np.frombuffer(data, dtype, count, at).reshape(shape))
        at += out[-1].nbytes
    assert at == len(data)
    return out


def build_cuda_kernels(compiler, folder, flags=()) -> pathlib.Path:
    """A folder with the objects of all kernels of cuda/ for the emulator. Two at a time."""

    def compile_(value):
        target = folder / f"{_VALUES.index(value)}.o"
        command = [compiler, "-std=c++17", "-O1", "-g1", "-I.", "-Wall", *EMULATED, *flags]
        command += [f"-DJAXINV_VALUE={value}", "-x", "c++", "-c", "cuda/kernels.cu", "-o", str(target)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "warning" not in done.stderr, done.stderr

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(compile_, _VALUES))
    return folder


def build_cuda_test(compiler, folder, test, objects, flags=()) -> pathlib.Path:
    """The program of tests/cpp/`test`.cc with those objects."""
    sources = ["cuda/launch.cu", "core/plan.cc", "tests/cpp/simt/simt.cc", f"tests/cpp/{test}.cc"]
    objects = map(str, sorted(objects.glob("*.o")))
    return build(compiler, folder, [*objects, "-x", "c++", *sources], [*EMULATED, *flags], test)


def barriers(names: Iterable[str], pattern=r"\s*__sync(warp|threads)\(\);") -> Iterator[str]:
    """Where the barriers of cuda/`name`.cuh stand, as simt::leave_out names them."""
    for name in names:
        lines = (ROOT / f"cuda/{name}.cuh").read_text().splitlines()
        places = [i for i, line in enumerate(lines, 1) if re.match(pattern, line)]
        assert places, name
        yield from (f"cuda/{name}.cuh:{i}" for i in places)


def build_metal_kernels(compiler, folder, flags=()) -> list[str]:
    """Objects of all kernels of metal/, as C++14: Metal's language has no more. Two at a time."""

    def compile_(source):
        target = folder / f"{source.stem}.o"
        command = [compiler, "-std=c++14", "-pedantic", "-O1", "-g1", "-I.", "-Wall", "-Wno-attributes"]
        command += ["-D__METAL_VERSION__=310", *EMULATED_METAL, *flags, "-x", "c++", "-c", str(source)]
        done = subprocess.run([*command, "-o", str(target)], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
        return str(target)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(compile_, sorted(ROOT.glob("metal/*.metal"))))


def once(tmp_path_factory, name, make) -> pathlib.Path:
    """make(folder), called by one of the processes that run the tests; what it returns, for all of them."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder = folder / name
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder / "made"
        if not made.exists():
            made.write_text(str(make(folder)))
        return pathlib.Path(made.read_text())
