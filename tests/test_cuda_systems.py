"""The CUDA kernels of LU, systems and structured matrices from their shipping sources, on the emulator."""

import functools
import pathlib
import subprocess

import pytest
from programs import barriers, build_cuda_kernels, build_cuda_test, find_compiler, once, run

_FILES = ("team", "system", "lu", "solve", "inverse_triangle")
_BARRIER = r"\s*(team\.)?sync\(\);"


def _build(folder, flags=(), objects=None) -> pathlib.Path:
    compiler = find_compiler()
    objects = objects or build_cuda_kernels(compiler, folder, flags)
    return build_cuda_test(compiler, folder, "cuda_systems_test", objects, flags)


@pytest.fixture
def program(tmp_path, tmp_path_factory) -> pathlib.Path:
    make = functools.partial(build_cuda_kernels, find_compiler())
    return _build(tmp_path, objects=once(tmp_path_factory, "cuda_kernels", make))


def _shows(program, place):
    """A wrong result, or a row that is none."""
    done = subprocess.run([str(program), "1", place], capture_output=True, text=True, timeout=300)
    assert done.returncode, f"without the barrier of {place} nothing changes"


def test_systems_on_two_schedules_and_planted_mistakes(program):
    assert run(program, "2") == "0 failures\n"
    for name in _FILES:
        _shows(program, next(barriers([name], _BARRIER)))


@pytest.mark.slow
def test_systems_of_more_sizes_on_many_schedules_and_every_barrier_is_needed(program):
    assert run(program, "8", timeout=1800) == "0 failures\n"
    for place in barriers(_FILES, _BARRIER):
        _shows(program, place)


@pytest.mark.slow
def test_systems_without_reductions_in_one_instruction(tmp_path):
    """As on sm_75: by shuffles."""
    assert run(_build(tmp_path, ["-DJAXINV_NO_REDUX"]), "2") == "0 failures\n"


@pytest.mark.sanitisers
def test_systems_with_address_and_undefined_behaviour_sanitisers(tmp_path):
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    assert run(_build(tmp_path, flags), "1", timeout=600) == "0 failures\n"
