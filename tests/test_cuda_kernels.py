"""The CUDA kernels from their shipping sources, on the SIMT emulator of tests/cpp/simt."""

import pathlib
import subprocess

import pytest
from programs import (
    EMULATED,
    barriers,
    build,
    build_and_run,
    build_cuda_kernels,
    build_cuda_test,
    find_compiler,
    once,
    run,
)

_KERNELS = ("inverse_thread", "inverse_warp", "triple_product_thread", "triple_product_warp")


@pytest.fixture
def compiler() -> str:
    return find_compiler()


def test_emulator_shows_missing_barriers_and_divergence(compiler, tmp_path):
    sources = ["tests/cpp/simt_test.cc", "tests/cpp/simt/simt.cc"]
    assert build_and_run(compiler, tmp_path, sources, EMULATED) == "0 failures\n"


def _build(compiler, folder, flags=()) -> pathlib.Path:
    objects = build_cuda_kernels(compiler, folder, flags)
    return build_cuda_test(compiler, folder, "cuda_kernels_test", objects, flags)


@pytest.fixture
def program(compiler, tmp_path, tmp_path_factory) -> pathlib.Path:
    objects = once(tmp_path_factory, "cuda_kernels", lambda folder: build_cuda_kernels(compiler, folder))
    return build_cuda_test(compiler, tmp_path, "cuda_kernels_test", objects)


def _shows(program, place):
    done = subprocess.run([str(program), "1", place], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, f"without the barrier of {place} nothing changes"


def test_kernels_on_three_schedules_and_planted_mistakes(program):
    assert run(program, "3") == "0 failures\n"
    for name in _KERNELS:
        _shows(program, next(barriers([name])))


@pytest.mark.slow
def test_kernels_on_twenty_schedules_and_every_barrier_is_needed(program):
    assert run(program, "20", timeout=900) == "0 failures\n"
    for place in barriers(_KERNELS):
        _shows(program, place)


@pytest.mark.slow
def test_kernels_without_reductions_in_one_instruction(compiler, tmp_path):
    """As on sm_75: by shuffles."""
    assert run(_build(compiler, tmp_path, ["-DJAXINV_NO_REDUX"]), "3") == "0 failures\n"


@pytest.mark.sanitisers
def test_kernels_with_address_and_undefined_behaviour_sanitisers(compiler, tmp_path):
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    assert run(_build(compiler, tmp_path, flags), "1", timeout=600) == "0 failures\n"


def test_devices_that_are_too_old_are_named(compiler, tmp_path):
    flags = [*EMULATED, "-DJAXINV_CUDA_MACHINE_CODE=80,90", "-DJAXINV_CUDA_PTX=90"]
    sources = ["cuda/devices.cc", "tests/cpp/devices_test.cc", "tests/cpp/simt/simt.cc"]
    program = build(compiler, tmp_path, sources, flags)
    for capability in ("8.0", "8.9", "9.0", "10.3", "12.0"):
        assert run(program, *capability.split(".")) == "0|SIMT emulator|\n"
    assert run(program, "7", "5") == (
        "1|SIMT emulator|device 0, SIMT emulator, has compute capability 7.5, this build is for sm_80, sm_90 "
        "and later by PTX of compute_90\n"
    )
