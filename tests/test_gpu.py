"""What only a GPU can show: the C++ tests on it, CUDA graphs, batches beyond 2³¹ elements."""

import os
import shutil
import subprocess
import sys

import emulated_metal as metal
import jax
import matrices
import numpy as np
import pytest
from conftest import missing
from jax import numpy as jnp
from programs import ROOT, find_compiler, once, run

import jaxinv


@pytest.fixture(autouse=True)
def gpu() -> None:
    (cuda,) = [b for b in jaxinv.backends() if b.name == "cuda"]
    if cuda.reason:
        missing("cuda", f"CUDA is not available: {cuda.reason}")
    if jax.default_backend() != "gpu":
        missing("cuda", f"jax computes on {jax.default_backend()}")


@pytest.mark.parametrize("test", ["cuda_kernels_test", "cuda_systems_test"])
def test_kernels_from_c(test, tmp_path):
    """tests/cpp/`test`.cc, elsewhere on the emulator; benchmarks/gpu.sh sanitises both."""
    if not shutil.which("nvcc"):
        missing("cuda-compile", "nvcc is not on the PATH")
    program = tmp_path / "program"
    command = [ROOT / "tests/cpp/gpu/build.sh", str(program), f"tests/cpp/{test}.cc"]
    done = subprocess.run(command, env={**os.environ, "CXX": find_compiler()}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert run(program, "3", timeout=300) == "0 failures\n"


@pytest.mark.parametrize("dtype", metal.TYPES)
def test_metal_kernels_as_cuda_give_the_bits_of_the_emulator(dtype, tmp_path_factory):
    """The sources that ship for Metal, compiled as CUDA, on real simdgroups of 32."""
    if not shutil.which("nvcc"):
        missing("cuda-compile", "nvcc is not on the PATH")

    def build(folder):
        command = [ROOT / "tests/cpp/msl/cuda/build.sh", str(folder / "program")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return folder / "program"

    programs = (
        once(tmp_path_factory, "metal_as_cuda", build),
        once(tmp_path_factory, "metal", metal.build_program),
    )
    for n in (1, 3, 8, 12, 32, 33, 64, 97):
        names, a = matrices.generate(n, dtype, 2)
        on_gpu, emulated = (metal.invert(program, a) for program in programs)
        matrices.assert_inverse(a, on_gpu[0], names)
        for x, y in zip(on_gpu, emulated, strict=True):
            np.testing.assert_array_equal(x, y)
        if n in (3, 12, 32):
            on_gpu, emulated = (metal.triple_product(program, a, a[::-1].copy()) for program in programs)
            np.testing.assert_array_equal(on_gpu, emulated)


_STEP = """
import hashlib, jax, jaxinv, numpy as np
from jax import numpy as jnp

@jax.jit
def step(a):
    x = jaxinv.inv(a)
    pos = a @ jnp.swapaxes(a, 1, 2) + jnp.eye(a.shape[-1])
    systems = jaxinv.solve(a, a[..., :2]), jaxinv.solve(pos, a, assume_a="pos"), jaxinv.det(a)
    structured = jaxinv.inv(pos, assume_a="pos"), jaxinv.inv(pos, assume_a="lower triangular")
    derivative = jax.grad(lambda a: jnp.sum(jaxinv.inv(a) ** 2))(a)
    return x, derivative, jaxinv.inv_slogdet(x).logabsdet, *systems, *structured

for n in (3, 8, 17, 32):
    a = jnp.asarray(np.random.default_rng(n).standard_normal((1000, n, n)), jnp.float32)
    results = [jax.block_until_ready(step(a)) for _ in range(4)]  # recorded, then replayed
    assert all((x == y).all() for r in results for x, y in zip(r, results[0]))
    print(n, hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in results[-1])).hexdigest())
print("command_buffer" in step.lower(a).compile().as_text())
"""


def test_cuda_graph_gives_the_bits_of_plain_launches():
    def outcome(flags):
        environment = {**os.environ, "XLA_FLAGS": flags, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
        command = [sys.executable, "-c", _STEP]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        *bits, recorded = done.stdout.split("\n")[:-1]
        return bits, recorded

    plain, recorded = outcome("--xla_gpu_enable_command_buffer=")
    assert recorded == "False"
    kinds = "FUSION,CUBLAS,CUSTOM_CALL"
    graph, recorded = outcome(f"--xla_gpu_enable_command_buffer={kinds} --xla_gpu_graph_min_graph_size=1")
    assert recorded == "True", "XLA recorded no graph"
    assert graph == plain


@pytest.mark.parametrize("n", [3, 12])
def test_more_than_2_to_the_31_elements(n):
    needed = 3 * 2 * 2**31
    if (jax.devices()[0].memory_stats() or {}).get("bytes_limit", 0) < needed + 2**30:
        pytest.skip("the GPU has less memory than the test needs")
    few = jnp.asarray(np.random.default_rng(n).standard_normal((997, n, n)), jnp.float16)
    repeats = 2**31 // few.size + 2
    a = jnp.broadcast_to(few, (repeats, *few.shape))
    out = jax.jit(jaxinv.inv, donate_argnums=0)(a.reshape(-1, n, n)).reshape(a.shape)
    # The same bits at every place, the last ones behind the 2³¹st element.
    expected = jaxinv.inv(few)
    assert bool(jnp.all((out == expected) | (jnp.isnan(out) & jnp.isnan(expected))))
