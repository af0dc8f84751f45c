"""The C++ core apart from JAX: built here with sanitisers, and with vectors wider than this machine's."""

import concurrent.futures
import functools
import pathlib
import platform
import shutil

import pytest
from bochs import linux_kernel, run_in_bochs
from conftest import missing
from programs import build, build_and_run, find_compiler, run

_X86 = platform.machine() in ("x86_64", "AMD64")
_NOT_FORCED = "-DJAXINV_INLINE=inline"  # inlining: half the time
_UNOPTIMISED = "-O0", _NOT_FORCED
_SET = ("avx2", "kAvx2", ["-mavx2", "-mfma"]) if _X86 else ("neon", "kNeon", [])


@pytest.fixture(scope="module")
def compiler() -> str:
    name = find_compiler()
    if _X86 and "avx2" not in pathlib.Path("/proc/cpuinfo").read_text():
        missing("compiler", "this processor has no AVX2")
    return name


def _run(program) -> str:
    return run(program, timeout=600)


def _printed(compiler, folder, kernel_set, flags, runner=_run) -> set[str]:
    """What the test programs print, on one build of the kernels; runner(program) runs one."""
    name, kernel_set, instructions = kernel_set
    flags = [
        "-DJAXINV_BLOCKS_FROM=141",
        *("-ffp-contract=fast", "-fno-strict-aliasing", *instructions, *flags),
        *(f"-DJAXINV_NAMESPACE={name}", f"-DJAXINV_KERNEL_SET={kernel_set}"),
    ]
    kernels = build(compiler, folder, ["cpu/kernels.cc"], [*flags, "-c"], "kernels.o")
    programs = [
        build(compiler, folder, [f"tests/cpp/{test}.cc", str(kernels)], flags, test)
        for test in ("kernels_test", "systems_test", "structures_test")
    ]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return set(pool.map(runner, programs))


@pytest.mark.sanitisers
def test_kernels_with_address_and_undefined_behaviour_sanitisers(compiler, tmp_path):
    """Unoptimised, like the next, and checks of addresses not inline: it compiles in much less time."""
    flags = [*_UNOPTIMISED, "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    if platform.system() == "Linux" and "clang" not in compiler:
        flags += ["--param", "asan-instrumentation-with-call-threshold=0"]
    assert _printed(compiler, tmp_path, _SET, flags) == {"0 failures\n"}


@pytest.mark.sanitisers
@pytest.mark.parametrize("width", [pytest.param(16, marks=pytest.mark.slow), 64])
def test_kernels_at_other_vector_widths(compiler, tmp_path, width):
    """The code of narrower and wider instruction sets, compiled for this one; SSE2 is the narrower in CI."""
    flags = [*_UNOPTIMISED, f"-DJAXINV_VECTOR_BYTES={width}"]
    assert _printed(compiler, tmp_path, _SET, flags) == {"0 failures\n"}


@pytest.mark.slow
def test_neon_kernels_under_emulation(tmp_path):
    """Debian's g++-aarch64-linux-gnu and qemu-user-static build and run them on any machine."""
    tools = "aarch64-linux-gnu-g++", "qemu-aarch64-static"
    if not all(map(shutil.which, tools)):
        missing("aarch64", f"{' or '.join(tools)} is not installed")
    emulate = functools.partial(run, tools[1], timeout=600)
    flags = [_NOT_FORCED, "-static"]
    assert _printed(tools[0], tmp_path, ("neon", "kNeon", []), flags, emulate) == {"0 failures\n"}


@pytest.mark.slow
@pytest.mark.skipif(not _X86, reason="AVX-512 kernels are x86-64's")
def test_avx512_kernels_under_emulation(tmp_path):
    """As optimised as they ship; a quarter of an hour. tests/bochs.py says what it needs."""
    compiler, kernel = find_compiler(), linux_kernel()  # whatever this processor has
    instructions = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"]
    instructions += ["-mprefer-vector-width=512"]
    emulate = functools.partial(run_in_bochs, compiler=compiler, kernel=kernel, timeout=3600)
    flags = ["-O3", "-static"]
    printed = _printed(compiler, tmp_path, ("avx512", "kAvx512", instructions), flags, emulate)
    assert printed == {"0 failures\n"}


@pytest.mark.sanitisers
def test_parallel_for_with_thread_sanitiser(compiler, tmp_path):
    sources = ["cpu/parallel_for.cc", "tests/cpp/parallel_for_test.cc"]
    assert build_and_run(compiler, tmp_path, sources, ["-fsanitize=thread", "-pthread"]) == "0 wrong\n"
