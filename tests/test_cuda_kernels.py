"""The CUDA kernels from their shipping sources, on the SIMT emulator of tests/cpp/simt."""

import concurrent.futures
import pathlib
import re
import subprocess

import pytest
from programs import EMULATED, ROOT, build, build_and_run, find_compiler, run

_VALUES = ("float", "double", "Complex<float>", "Complex<double>")
_SOURCES = ["cuda/launch.cu", "core/plan.cc", "tests/cpp/simt/simt.cc", "tests/cpp/cuda_kernels_test.cc"]
_KERNELS = ("inverse_thread", "inverse_warp", "triple_product_thread", "triple_product_warp")


@pytest.fixture
def compiler() -> str:
    return find_compiler()


def test_emulator_shows_missing_barriers_and_divergence(compiler, tmp_path):
    sources = ["tests/cpp/simt_test.cc", "tests/cpp/simt/simt.cc"]
    assert build_and_run(compiler, tmp_path, sources, EMULATED) == "0 failures\n"


def _build(compiler, folder, flags=()) -> pathlib.Path:
    """The program of tests/cpp/cuda_kernels_test.cc: its objects, two at a time, and the rest."""

    def compile_(value):
        target = folder / f"{_VALUES.index(value)}.o"
        command = [compiler, "-std=c++17", "-O1", "-g1", "-I.", "-Wall", *EMULATED, *flags]
        command += [f"-DJAXINV_VALUE={value}", "-x", "c++", "-c", "cuda/kernels.cu", "-o", str(target)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "warning" not in done.stderr, done.stderr
        return str(target)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_, _VALUES))
    return build(compiler, folder, [*objects, "-x", "c++", *_SOURCES], [*EMULATED, *flags])


def _barriers():
    for name in _KERNELS:
        lines = (ROOT / f"cuda/{name}.cuh").read_text().splitlines()
        places = [i for i, line in enumerate(lines, 1) if re.match(r"\s*__sync(warp|threads)\(\);", line)]
        assert places, name
        yield from (f"cuda/{name}.cuh:{i}" for i in places)


def _shows(program, place):
    done = subprocess.run([str(program), "1", place], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, f"without the barrier of {place} nothing changes"


def test_kernels_on_three_schedules_and_planted_mistakes(compiler, tmp_path):
    program = _build(compiler, tmp_path)
    assert run(program, "3") == "0 failures\n"
    for name in _KERNELS:
        _shows(program, next(place for place in _barriers() if name in place))


@pytest.mark.slow
def test_kernels_on_twenty_schedules_and_every_barrier_is_needed(compiler, tmp_path):
    program = _build(compiler, tmp_path)
    assert run(program, "20", timeout=900) == "0 failures\n"
    for place in _barriers():
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
