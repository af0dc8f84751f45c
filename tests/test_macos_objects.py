"""What a Mac builds compiles here to objects of arm64 macOS, by the clang of the PyPI package ziglang."""

import importlib.util
import subprocess
import sys

import pytest
from conftest import missing
from programs import ROOT

_SOURCES = [
    *(f"metal/{name}.cc" for name in ("buffers", "device", "dispatch", "handover", "launch")),
    *("core/plan.cc", "cpu/isa.cc", "cpu/launch.cc", "cpu/parallel_for.cc"),
    *(f"xla_ffi/{name}.cc" for name in ("cpu_handlers", "decode", "problems")),
]
_FLAGS = ["-target", "aarch64-macos", "-std=c++17", "-I.", "-Wall", "-Wextra", "-Werror"]


def _compile(source, folder, *flags):
    if importlib.util.find_spec("ziglang") is None:
        missing("macos-objects", "the Python package ziglang is not installed")
    target = folder / "out.o"
    # With it come Apple's headers of the Objective-C runtime and of libdispatch.
    command = [sys.executable, "-m", "ziglang", "c++", *_FLAGS, *flags, "-c", source, "-o", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    # Mach-O of 64 bits, for arm64.
    assert target.read_bytes()[:8] == bytes.fromhex("cffaedfe0c000001")


@pytest.mark.slow
@pytest.mark.parametrize("source", _SOURCES)
def test_host(tmp_path, source):
    (headers,) = importlib.util.find_spec("jaxlib").submodule_search_locations
    flags = ["-isystem", f"{headers}/include", "-Wno-unused-parameter", "-DJAXINV_HAS_METAL"]
    _compile(source, tmp_path, "-O1", *flags)


@pytest.mark.slow
def test_neon_kernels(tmp_path):
    flags = ["-DJAXINV_NAMESPACE=neon", "-DJAXINV_KERNEL_SET=kNeon", "-ffp-contract=fast", "-fno-math-errno"]
    _compile("cpu/kernels.cc", tmp_path, "-O0", "-fno-strict-aliasing", *flags)
