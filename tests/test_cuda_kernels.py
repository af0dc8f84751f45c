"""The CUDA kernels from their shipping sources, on the SIMT emulator of tests/cpp/simt."""

import pytest
from programs import build_and_run, find_compiler

_EMULATOR = ["-Itests/cpp/simt", "-O2", "-ffp-contract=fast", "tests/cpp/simt/simt.cc"]


@pytest.fixture(scope="module")
def compiler() -> str:
    return find_compiler()


def test_emulator_shows_missing_barriers_and_divergence(compiler, tmp_path):
    assert build_and_run(compiler, tmp_path, ["tests/cpp/simt_test.cc"], _EMULATOR) == "0 failures\n"
