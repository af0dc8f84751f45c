"""The C++ core apart from JAX: built here with sanitisers, and with vectors wider than this machine's."""

import pathlib
import platform
import shutil
import subprocess

import pytest
from conftest import missing
from programs import ROOT, build_and_run, find_compiler

_X86 = platform.machine() in ("x86_64", "AMD64")
_SET = ("avx2", "kAvx2", ["-mavx2", "-mfma"]) if _X86 else ("neon", "kNeon", [])


tests = pytest.mark.parametrize("test", ["kernels_test", "systems_test"])


@pytest.fixture(scope="module")
def compiler() -> str:
    name = find_compiler()
    if _X86 and "avx2" not in pathlib.Path("/proc/cpuinfo").read_text():
        missing("compiler", "this processor has no AVX2")
    return name


def _kernels(compiler, folder, test, flags):
    name, kernel_set, instructions = _SET
    flags = [
        *("-ffp-contract=fast", "-fno-strict-aliasing", *instructions, *flags),
        *(f"-DJAXINV_NAMESPACE={name}", f"-DJAXINV_KERNEL_SET={kernel_set}"),
    ]
    return build_and_run(compiler, folder, ["cpu/kernels.cc", f"tests/cpp/{test}.cc"], flags)


@tests
@pytest.mark.sanitisers
def test_kernels_with_address_and_undefined_behaviour_sanitisers(compiler, tmp_path, test):
    out = _kernels(compiler, tmp_path, test, ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
    assert out == "0 failures\n"


@tests
@pytest.mark.sanitisers
@pytest.mark.parametrize("width", [16, 64])
def test_kernels_at_other_vector_widths(compiler, tmp_path, test, width):
    """The code of narrower and wider instruction sets, compiled for this one (unoptimised: minutes else)."""
    assert _kernels(compiler, tmp_path, test, ["-O0", f"-DJAXINV_VECTOR_BYTES={width}"]) == "0 failures\n"


@tests
@pytest.mark.slow
def test_neon_kernels_under_emulation(tmp_path, test):
    """Debian's g++-aarch64-linux-gnu and qemu-user-static build and run them on any machine."""
    tools = "aarch64-linux-gnu-g++", "qemu-aarch64-static"
    if not all(map(shutil.which, tools)):
        missing("aarch64", f"{' or '.join(tools)} is not installed")
    program = tmp_path / "program"
    flags = ["-std=c++17", "-O1", "-I.", "-ffp-contract=fast", "-fno-strict-aliasing", "-static"]
    flags += ["-DJAXINV_NAMESPACE=neon", "-DJAXINV_KERNEL_SET=kNeon"]
    sources = ["cpu/kernels.cc", f"tests/cpp/{test}.cc", "-o", str(program)]
    subprocess.run([tools[0], *flags, *sources], cwd=ROOT, check=True)
    done = subprocess.run([tools[1], str(program)], capture_output=True, text=True, timeout=600)
    assert done.stdout == "0 failures\n", done.stdout + done.stderr


@pytest.mark.sanitisers
def test_parallel_for_with_thread_sanitiser(compiler, tmp_path):
    sources = ["cpu/parallel_for.cc", "tests/cpp/parallel_for_test.cc"]
    assert build_and_run(compiler, tmp_path, sources, ["-fsanitize=thread", "-pthread"]) == "0 wrong\n"
