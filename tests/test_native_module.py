"""The compiled module absent, of another version, or newer than jaxlib: import works and says why."""

import contextlib
import os
import platform
import re
import subprocess
import sys
import textwrap

import pytest

import jaxinv
from jaxinv import _native

# What a user's process must be able to do whatever became of the module.
_USE = textwrap.dedent("""
    import jax, numpy as np
    from jax import numpy as jnp
    import jaxinv
    assert jnp.ones(2).sum() == 2
    a = np.array([[2.0, 1.0], [1.0, 1.0]], np.float32)
    assert (np.asarray(jaxinv.inv(a)) == [[1, -1], [-1, 2]]).all()
    assert (np.asarray(jax.grad(lambda a: jaxinv.inv(a)[0, 0])(a)) == [[-1, 1], [1, -1]]).all()
    (cpu,) = [b for b in jaxinv.backends() if b.name == "cpu"]
    print(cpu.available, cpu.kernel_set, cpu.reason, sep="|")
""")


def _run(code, folder=None, **environment):
    path = [str(folder)] if folder else []
    path += filter(None, [os.environ.get("PYTHONPATH", "")])
    root = os.path.dirname(os.path.dirname(os.path.abspath(jaxinv.__file__)))
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join([*path, root])},
        capture_output=True,
        text=True,
        timeout=120,
    )


def _reason(done):
    assert done.returncode == 0, done.stderr
    available, kernel_set, reason = done.stdout.strip().split("|", 2)
    assert available == "False" and kernel_set == "None"
    return reason


def _fake(folder, version, ffi):
    (folder / "_jaxinv.py").write_text(
        f"__version__ = {version!r}\nFFI_API_VERSION = {ffi!r}\n"
        "def targets():\n    raise AssertionError('nothing of a refused module may be registered')\n"
    )


def test_absent(tmp_path):
    (tmp_path / "_jaxinv.py").write_text("raise ModuleNotFoundError(\"No module named '_jaxinv'\")\n")
    reason = _reason(_run(_USE, tmp_path))
    assert reason == "the compiled module _jaxinv does not load: No module named '_jaxinv'"


def test_that_does_not_load(tmp_path):
    (tmp_path / "_jaxinv.py").write_text("raise ImportError('undefined symbol: f')\n")
    done = _run(_USE + "from jaxinv import _native\nassert _native.installed()\n", tmp_path)
    assert _reason(done) == "the compiled module _jaxinv does not load: undefined symbol: f"


def test_of_another_version(tmp_path):
    _fake(tmp_path, "0.0.7", (0, 0))
    expected = f"the compiled module is version 0.0.7, jaxinv is {jaxinv.__version__}: reinstall jaxinv"
    assert _reason(_run(_USE, tmp_path)) == expected


@pytest.mark.parametrize("ffi", [(0, 999), (1, 0)], ids=["minor", "major"])
def test_for_a_newer_ffi(tmp_path, ffi):
    """jaxlib would refuse its handlers only when the CPU client starts, and take the backend down."""
    _fake(tmp_path, jaxinv.__version__, ffi)
    major, minor = _native.ffi_versions()[0]
    assert _reason(_run(_USE, tmp_path)) == (
        f"the compiled module was built for XLA FFI {ffi[0]}.{ffi[1]}, the installed jaxlib implements "
        f"{major}.{minor}: upgrade jaxlib or build jaxinv from source"
    )


def test_disabled():
    assert _reason(_run(_USE, JAXINV_DISABLE="cpu")) in (
        "disabled (JAXINV_DISABLE=cpu)",
        "disabled (JAXINV_DISABLE=cpu,cuda,metal)",
    )


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "JAXINV_DISABLE",
            "cpu,gpu",
            "JAXINV_DISABLE: expected a comma-separated list of cpu, cuda, metal, got 'gpu'",
        ),
        ("JAXINV_ISA", "avx", "JAXINV_ISA: expected one of avx512, avx2, sse2, neon, got 'avx'"),
        ("JAXINV_METAL", "yes", "JAXINV_METAL: expected one of auto, always, never, got 'yes'"),
    ],
)
def test_unknown_values_of_switches_are_errors(variable, value, message):
    done = _run("import jaxinv", **{variable: value})
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1] == f"ValueError: {message}"


@pytest.mark.parametrize("word", ["AUTO", "ON", "OFF", "FAKE"])
def test_what_the_build_was_told_does_not_matter_at_run_time(word):
    done = _run("from jaxinv import _native; print(_native.switches()['JAXINV_METAL'])", JAXINV_METAL=word)
    assert done.returncode == 0 and done.stdout == "\n", done.stderr


def test_metal_by_switches(native):
    code = "import jaxinv; print(jaxinv.backends()[2].reason)"
    assert _run(code, JAXINV_METAL="never").stdout == "JAXINV_METAL=never\n"
    assert _run(code, JAXINV_DISABLE="metal").stdout == "disabled (JAXINV_DISABLE=metal)\n"


def test_each_kernel_set_of_this_machine_can_be_forced(native):
    import _jaxinv

    names = _jaxinv.kernel_sets()
    for name in names:
        done = _run(_USE, JAXINV_ISA=name)
        assert done.stdout.startswith(f"True|{name}|"), done.stdout + done.stderr
    for name in {"avx512", "avx2", "sse2", "neon"} - set(names):
        done = _run("import jaxinv", JAXINV_ISA=name)
        expected = f"ValueError: JAXINV_ISA: this machine has {', '.join(names)}, got '{name}'"
        assert done.stderr.strip().splitlines()[-1] == expected


def test_backends_and_plan_agree(native):
    for backend in jaxinv.backends():
        plan = _native.plan(backend.name, "inverse", 3, "float32")
        # Programs for a GPU that is elsewhere call the kernels, too, if this build has them.
        elsewhere = backend.name == "cuda" and "no NVIDIA driver" in backend.reason
        assert plan["native"] == (backend.available or elsewhere)
        assert bool(backend.reason) != backend.available
    with pytest.raises(ValueError, match=re.escape("_jaxinv: unknown op 'nothing'")):
        _native.plan("cpu", "nothing", 3, "float32")


def test_device_that_is_too_old_is_served_by_the_portable_path(monkeypatch):
    class Module:
        plan = staticmethod(lambda *_: {"native": True, "kernel": "cuda/inverse_thread", "reason": "n <= 8"})
        compiles_for = staticmethod(lambda backend: False)
        unavailable = staticmethod(lambda backend: "device 0 is too old")

    monkeypatch.setattr(_native, "_module", Module)
    monkeypatch.setattr(_native, "_reason", "")
    monkeypatch.setattr(_native, "_plan", Module.plan)
    plan = _native.plan("cuda", "inverse", 3, "float32")
    assert not plan["native"]
    assert plan["reason"] == "device 0 is too old; with kernels: cuda/inverse_thread, n <= 8"


_MAPPED = textwrap.dedent("""
    import ctypes, jax, jaxinv
    from jax import numpy as jnp

    class Info(ctypes.Structure):
        _fields_ = [(f, ctypes.c_size_t) for f in ("arena", "ordblks", "smblks", "hblks", *"rested")]

    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = Info
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    jaxinv.inv(jnp.broadcast_to(jnp.eye(16), (2048, 16, 16))).block_until_ready()
    before = libc.mallinfo2().hblks
    libc.malloc(31 << 20)
    print(libc.mallinfo2().hblks - before)
""")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what other allocators do is not known")
@pytest.mark.parametrize("own", [{}, {"MALLOC_MMAP_THRESHOLD_": "1000000"}], ids=["default", "set by user"])
def test_glibc_keeps_the_memory_of_outputs(native, own):
    # A block that it takes from its heap, not from the system, and so gives back to its heap.
    done = _run(_MAPPED, **own)
    assert done.stdout == ("1\n" if own else "0\n"), done.stderr


_FAULTS = textwrap.dedent("""
    import resource, jax, jaxinv
    from jax import numpy as jnp

    a = jnp.broadcast_to(jnp.eye(16), (65_536, 16, 16))  # 64 MB
    inv = jax.jit(jaxinv.inv)
    least = 1 << 20
    for _ in range(20):  # others' page faults, and a system that finds no large page, come and go
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        inv(a).block_until_ready()
        least = min(least, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    print(least)
""")


def _has_large_pages():
    with contextlib.suppress(OSError), open("/sys/kernel/mm/transparent_hugepage/enabled") as setting:
        return "[never]" not in setting.read()
    return False


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not _has_large_pages(), reason="no pages of 2 MB to have"
)
def test_each_large_page_of_an_output_is_faulted_once(native):
    done = _run(_FAULTS)
    # 31 pages of 2 MB and small ones at the ends; pages that two threads reach together count twice.
    assert int(done.stdout) <= 512 + 31 + 4, done.stdout + done.stderr
