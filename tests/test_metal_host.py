"""The host of the Metal kernels on a fake device: from C++, and from jax where the module has one."""

import os
import subprocess
import sys
import textwrap

import pytest
from conftest import missing
from programs import EMULATED_METAL, ROOT, build, find_compiler, run

import jaxinv

_FLATTEN = ROOT / "cmake/flatten_metal.py"
_HOST = [f"metal/{name}.cc" for name in ("buffers", "device", "dispatch", "handover", "launch")]
_FAKE = ["metal_fake/commands", "metal_fake/device", "metal_fake/runtime", "msl/msl", "simt/simt"]


def _flatten(result, root=ROOT, sources=None):
    sources = sources or sorted(str(p.relative_to(root)) for p in root.glob("metal/*.metal"))
    command = [sys.executable, str(_FLATTEN), str(root), str(result), *sources]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has the Objective-C runtime itself")
def test_host_on_a_fake_device(tmp_path):
    """tests/cpp/metal_host_test.cc; the kernels from the one text that a Mac compiles at run time."""
    compiler = find_compiler()
    text, library = tmp_path / "library.metal", tmp_path / "library.cc"
    assert _flatten(text).returncode == _flatten(library).returncode == 0
    flags = [*EMULATED_METAL, "-D__METAL_VERSION__=310", "-Wno-attributes", "-x", "c++", "-std=c++14", "-c"]
    kernels = build(compiler, tmp_path, [str(text)], flags, "kernels.o")
    sources = ["tests/cpp/metal_host_test.cc", *_HOST, "core/plan.cc"]
    sources += [f"tests/cpp/{name}.cc" for name in _FAKE]
    flags = ["-Itests/cpp/metal_fake", "-Itests/cpp/simt", "-DJAXINV_METAL_FAKE", "-DJAXINV_NAMESPACE=scalar"]
    flags += ["-Wextra", "-Wno-unused-function", "-pthread"]
    program = build(compiler, tmp_path, [*sources, str(library), str(kernels)], flags)
    assert run(program) == "0 failures\n"


def test_text_of_the_kernels(tmp_path):
    (tmp_path / "a.h").write_text("#pragma once\n#include <metal_stdlib>\nint a;\n")
    (tmp_path / "b.h").write_text('#pragma once\n#include "a.h"\nint b;\n')
    (tmp_path / "one.metal").write_text('#include "b.h"\n#include "a.h"\nint one;\n')
    (tmp_path / "two.metal").write_text('#include "a.h"\nint two;\n')
    assert _flatten(tmp_path / "out", tmp_path, ["one.metal", "two.metal"]).returncode == 0
    expected = "#include <metal_stdlib>\nint a;\nint b;\nint one;\nint two;\n"
    assert (tmp_path / "out").read_text() == expected
    (tmp_path / "a.h").write_text('#ifdef X\n#include "b.h"\n#endif\n')
    done = _flatten(tmp_path / "out", tmp_path, ["one.metal"])
    assert done.returncode and done.stderr.startswith("a.h:2: an include of a file of this project")


@pytest.fixture
def metal():
    """Runs a program with JAXINV_METAL as given: what is chosen at import."""
    (backend,) = [b for b in jaxinv.backends() if b.name == "metal"]
    if backend.reason and backend.reason != "JAXINV_METAL=never":
        missing("metal", f"Metal is not available: {backend.reason}")

    def call(code, mode, **environment):
        path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
        environment = {**os.environ, "JAXINV_METAL": mode, "PYTHONPATH": path, **environment}
        command = [sys.executable, "-c", textwrap.dedent(code)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


_EVERYTHING = """
    import threading
    import jax, jaxinv, numpy as np
    from jax import numpy as jnp

    (backend,) = [b for b in jaxinv.backends() if b.name == "metal"]
    print(backend.available, backend.reason)
    rng = np.random.default_rng(0)

    @jax.jit
    def step(a):
        x = jaxinv.inv(a)
        return x, jax.grad(lambda a: jnp.sum(jaxinv.inv(a) ** 2))(a), jaxinv.inv_slogdet(x).logabsdet

    def check(n, dtype):
        a = (rng.standard_normal((7, n, n)) + 2 * n * np.eye(n)).astype(dtype)
        x, g, logdet = map(np.asarray, step(a))
        np.testing.assert_allclose(x @ a, np.broadcast_to(np.eye(n), a.shape), atol=1e-5)
        t = np.swapaxes(x, 1, 2)
        np.testing.assert_allclose(g, -t @ (2 * x) @ t, rtol=1e-3, atol=1e-8)
        np.testing.assert_allclose(logdet, -np.linalg.slogdet(a)[1], rtol=1e-4)
        y = np.asarray(jax.vmap(jaxinv.inv)(a[:, None]))[:, 0]
        assert y.tobytes() == x.tobytes()

    sizes = [(3, "float32"), (12, "float32"), (40, "float32"), (5, "float64")]
    for n, dtype in sizes:
        check(n, dtype)
    threads = [threading.Thread(target=check, args=size) for size in sizes * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("done")
"""


@pytest.mark.parametrize("mode", ["auto", "always", "never"])
def test_from_jax(metal, mode):
    first, *rest = metal(_EVERYTHING, mode).splitlines()
    assert first == ("False JAXINV_METAL=never" if mode == "never" else "True ")
    assert rest == ["done"]


def test_failures_reach_the_caller(metal):
    code = """
        import jax, jaxinv, numpy as np
        try:
            jaxinv.inv(np.eye(3, dtype=np.float32)).block_until_ready()
        except jax.errors.JaxRuntimeError as error:
            print(error)
        print(jaxinv.inv(np.eye(3)).dtype)  # float64 stays on the CPU
    """
    message, dtype = metal(code, "always", JAXINV_METAL_FAKE_ERROR="too hot", JAX_ENABLE_X64="1").splitlines()
    if "Apple M1 (fake)" in [b.device for b in jaxinv.backends()]:
        assert message.endswith("jaxinv_inverse: kernel inverse_thread_float32_3: the GPU failed: too hot")
    assert dtype == "float64"


# What each operation runs, by small calls in mode "always".
_KERNELS = """
    import jax, jaxinv, numpy as np
    from jax import numpy as jnp

    def show(function, *operands, **options):
        try:
            jax.block_until_ready(function(*operands, **options))
            print("nothing failed")
        except jax.errors.JaxRuntimeError as error:
            print(str(error).split("INTERNAL: ")[-1])

    eye, many = np.eye(5, dtype=np.float32), np.ones((5, 400), np.float32)
    show(jaxinv.solve, eye, eye)
    show(jaxinv.solve, eye, eye, assume_a="pos")
    show(jaxinv.solve, np.eye(5, dtype=np.complex64), many.astype(np.complex64), assume_a="upper triangular")
    show(jaxinv.solve, np.eye(20, dtype=np.float32), np.ones(20, np.float32))
    show(jaxinv.slogdet, eye)
    show(jaxinv.det, eye, assume_a="pos")
    show(jaxinv.inv, eye, assume_a="pos")
    show(jaxinv.inv, eye.astype(jnp.bfloat16), assume_a="lower triangular")
    show(jaxinv.solve, np.eye(33, dtype=np.float32), np.ones(33, np.float32))
    show(jaxinv.solve, eye, np.zeros((5, 0), np.float32))
"""


def test_every_operation_runs_its_kernel(metal):
    if "Apple M1 (fake)" not in [b.device for b in jaxinv.backends()]:
        pytest.skip("only the fake device fails when told to")
    expected = [
        ("solve", "solve_simdgroup_float32"),
        ("solve", "solve_simdgroup_float32"),
        ("solve", "solve_simdgroup_complex64"),
        ("lu_factor", "lu_simdgroup_float32"),
        ("determinant", "lu_simdgroup_float32"),
        ("determinant", "lu_simdgroup_float32"),
        ("inverse", "triangle_simdgroup_float32"),
        ("inverse", "triangle_simdgroup_float32"),
    ]
    lines = metal(_KERNELS, "always", JAXINV_METAL_FAKE_ERROR="too hot").splitlines()
    wanted = [f"jaxinv_{op}: kernel {kernel}: the GPU failed: too hot" for op, kernel in expected]
    assert lines == [*wanted, "nothing failed", "nothing failed"]
    code = """
        import jax, jaxinv, numpy as np
        a = np.eye(8, dtype=np.float32)
        jax.block_until_ready(jaxinv.solve(a, np.ones((8, 20), np.float32)))
        try:  # one matrix, but 6.4 MB of right-hand sides
            jax.block_until_ready(jaxinv.solve(a, np.ones((8, 200_000), np.float32)))
        except jax.errors.JaxRuntimeError as error:
            print(error)
    """
    (line,) = metal(code, "auto", JAXINV_METAL_FAKE_ERROR="too hot").splitlines()
    assert line.endswith("jaxinv_lu_solve: kernel lu_solve_simdgroup_float32: the GPU failed: too hot")


def test_large_calls_are_handed_over(metal):
    """The GPU's results differ from the CPU's in the last bits: they show who computed."""
    code = """
        import hashlib, jaxinv, numpy as np
        for batch in (500, 60_000):
            a = np.random.default_rng(0).standard_normal((batch, 3, 6)).astype(np.float32).view(np.complex64)
            print(hashlib.sha256(np.asarray(jaxinv.inv(a)).tobytes()).hexdigest())
    """
    auto, always, never = (metal(code, mode).splitlines() for mode in ("auto", "always", "never"))
    assert always[0] != never[0] and always[1] != never[1]
    assert auto == [never[0], always[1]]
