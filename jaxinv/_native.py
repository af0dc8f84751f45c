"""Loads the compiled module `_jaxinv`, checks it, registers its custom calls, and remembers why not.

Nothing here fails an import: a module that is absent, of another version or built against a newer FFI
than the installed jaxlib's is left aside, and `backends()` says so.
"""

import dataclasses
import functools
import importlib.util
import os
import pathlib
import re
from types import ModuleType
from typing import Any

import jax
import numpy as np

from jaxinv._version import __version__

# JAX platform -> backend of jaxinv. Adding a backend adds a row.
PLATFORMS = {"cpu": "cpu", "cuda": "cuda"}
BACKENDS = ("cpu", "cuda", "metal")

_SWITCHES = {
    "JAXINV_ISA": ("avx512", "avx2", "sse2", "neon"),
    "JAXINV_METAL": ("auto", "always", "never"),
}
# What JAXINV_METAL says to the build; left in the environment, it says nothing here.
_BUILD_WORDS = {"JAXINV_METAL": ("AUTO", "ON", "OFF", "FAKE")}


@dataclasses.dataclass(frozen=True)
class Backend:
    """One of jaxinv's native backends: whether it serves this process and, if not, why.

    Attributes:
      name: "cpu", "cuda" or "metal".
      available: True when calls on its platform run native kernels.
      reason: why it is not available, in words; empty when it is.
      device: the processor it would run on, as far as known.
      version: version of the compiled module, or None without one.
      kernel_set: which build of the kernels runs ("avx2", ...); results are bitwise reproducible
        within one kernel set. None when not available.
    """

    name: str
    available: bool
    reason: str
    device: str | None
    version: str | None
    kernel_set: str | None


def _read_switches() -> tuple[frozenset[str], dict[str, str]]:
    disabled = frozenset(filter(None, os.environ.get("JAXINV_DISABLE", "").split(",")))
    for name in sorted(disabled - set(BACKENDS)):
        raise ValueError(
            f"JAXINV_DISABLE: expected a comma-separated list of {', '.join(BACKENDS)}, got {name!r}"
        )
    values = {}
    for variable, choices in _SWITCHES.items():
        value = os.environ.get(variable, "")
        value = "" if value in _BUILD_WORDS.get(variable, ()) else value
        if value and value not in choices:
            raise ValueError(f"{variable}: expected one of {', '.join(choices)}, got {value!r}")
        values[variable] = value
    return disabled, values


def _runtime_ffi_version() -> tuple[int, int] | None:
    """(major, minor) of the FFI that the installed jaxlib implements, read from its own header."""
    spec = importlib.util.find_spec("jaxlib")
    if spec is None or not spec.submodule_search_locations:
        return None
    header = pathlib.Path(spec.submodule_search_locations[0], "include/xla/ffi/api/c_api.h")
    try:
        text = header.read_text()
    except OSError:
        return None
    found = [re.search(rf"#define XLA_FFI_API_{part} (\d+)", text) for part in ("MAJOR", "MINOR")]
    if not all(found):
        return None
    major, minor = (int(m.group(1)) for m in found if m)
    return major, minor


def refusal(module: Any) -> str:
    """Why `module` must not be registered; empty when it may be.

    jaxlib refuses a handler built for a newer FFI only when its CPU client starts, and then the whole
    backend fails: so the comparison is made here, before anything is registered.
    """
    version = getattr(module, "__version__", None)
    if version != __version__:
        return f"the compiled module is version {version}, jaxinv is {__version__}: reinstall jaxinv"
    runtime, built = _runtime_ffi_version(), module.FFI_API_VERSION
    if runtime is None:
        return "the installed jaxlib does not say which FFI version it implements"
    if built[0] != runtime[0] or built[1] > runtime[1]:
        return (
            f"the compiled module was built for XLA FFI {built[0]}.{built[1]}, the installed jaxlib "
            f"implements {runtime[0]}.{runtime[1]}: upgrade jaxlib or build jaxinv from source"
        )
    return ""


def _load() -> tuple[ModuleType | None, str]:
    try:
        import _jaxinv  # type: ignore[import-not-found]
    except ImportError as error:
        return None, f"the compiled module _jaxinv does not load: {error}"
    reason = refusal(_jaxinv)
    if reason:
        return _jaxinv, reason
    _jaxinv.select_isa(_switches["JAXINV_ISA"])
    _jaxinv.select_metal("never" if "metal" in _disabled else _switches["JAXINV_METAL"])
    # CUDA's are registered without asking for a device: the driver must not be started by an import (a forked
    # child could not use it), and a loaded program may call them before anything is lowered.
    for platform, targets in _jaxinv.targets().items():
        for name, handlers in targets.items():
            jax.ffi.register_ffi_target(name, handlers, platform=platform)
            jax.ffi.register_ffi_target_as_batch_partitionable(name)
    return _jaxinv, ""


_disabled, _switches = _read_switches()
_module, _reason = _load()


def register_yardsticks() -> None:
    """Registers the custom calls that only the benchmarks call: `jaxinv_copy`, which copies and no more.

    Raises RuntimeError where the compiled module is not in use.
    """
    if _module is None or _reason:
        raise RuntimeError(_reason)
    for platform, targets in _module.yardsticks().items():
        for name, capsule in targets.items():
            jax.ffi.register_ffi_target(name, capsule, platform=platform)


def switches() -> dict[str, str]:
    """The environment variables that were read at import, with their values ("" where unset)."""
    return {"JAXINV_DISABLE": ",".join(sorted(_disabled)), **_switches}


def use_portable() -> None:
    """Serves every platform by the portable path from here on (`--portable` of the command line)."""
    global _disabled
    _disabled = frozenset(BACKENDS)


def ffi_versions() -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """(major, minor) of the FFI that jaxlib implements, and of the one the compiled module was built for."""
    return _runtime_ffi_version(), getattr(_module, "FFI_API_VERSION", None)


def installed() -> bool:
    """True when a compiled module is there, in use or not."""
    return importlib.util.find_spec("_jaxinv") is not None


def target(op: str) -> str:
    """Name of the custom call of an operation, the same on every platform."""
    return f"jaxinv_{op}"


@functools.cache
def _plan(backend: str, op: str, n: int, dtype: str, structure: str) -> dict[str, Any]:
    assert _module is not None
    return _module.plan(backend, op, n, dtype, structure)


def plan(backend: str, op: str, n: int, dtype, structure: str = "general") -> dict[str, Any]:
    """What a program compiled in this process runs: native (bool), algorithm, kernel, reason, workspace.

    `workspace` is scratch memory in bytes per matrix. A program for CUDA may be compiled where there is no
    GPU (`jax.export`, lowering for another platform): it calls the kernels if this build has them.
    """
    reason = _portable_reason(backend)
    if reason:
        return {"native": False, "algorithm": "portable", "kernel": "XLA", "reason": reason}
    planned = _plan(backend, op, n, np.dtype(dtype).name, structure)
    assert _module is not None
    if planned["native"] and not _module.compiles_for(backend):
        reason = f"{_module.unavailable(backend)}; with kernels: {planned['kernel']}, {planned['reason']}"
        return {"native": False, "algorithm": "portable", "kernel": "XLA", "reason": reason}
    return planned


def cpu_plan(op: str, n: int, dtype, structure: str, nbytes: int, mac: bool) -> dict[str, Any]:
    """The plan of JAX's cpu platform for a call that reads `nbytes` of matrices.

    On a Mac the GPU takes large calls. `mac`: say what a Mac does; else what this process does.
    """
    reason = _portable_reason("cpu")
    if reason or _module is None or not (mac or not _unavailable("metal")):
        return plan("cpu", op, n, dtype, structure)
    taken, why = _module.handover(op, n, np.dtype(dtype).name, structure, nbytes)
    planned = _plan("metal" if taken else "cpu", op, n, np.dtype(dtype).name, structure)
    return {**planned, "reason": f"{planned['reason']}; {why}"}


def lowered_plan(platform: str, op: str, n: int, dtype, static: dict[str, Any]) -> dict[str, Any]:
    """The plan for an operation with its static parameters on a platform of JAX."""
    return plan(PLATFORMS[platform], op, n, dtype, static.get("structure", "general"))


def _portable_reason(backend: str) -> str:
    """Why the plan is not asked at all."""
    if backend in _disabled:
        return f"disabled (JAXINV_DISABLE={','.join(sorted(_disabled))})"
    if _reason or _module is None:
        return _reason
    return ""


def _unavailable(backend: str) -> str:
    reason = _portable_reason(backend)
    return reason if reason or _module is None else _module.unavailable(backend)


def backends() -> list[Backend]:
    """Lists the native backends: cpu, cuda, metal.

    Returns:
      A list of `Backend(name, available, reason, device, version, kernel_set)`, one for each native
      backend. Where `available` is False, `reason` says why in words and the platform is served by the
      portable path. No backend of JAX is started by asking; NVIDIA's driver is asked for its devices where
      this build has CUDA kernels. Programs for CUDA can be compiled with them also where there is no GPU.
    """
    version = getattr(_module, "__version__", None)
    out = []
    for name in BACKENDS:
        reason = _unavailable(name)
        out.append(
            Backend(
                name=name,
                available=not reason,
                reason=reason,
                device=(_module.device(name) or None) if _module is not None and not _reason else None,
                version=version,
                kernel_set=None if reason or _module is None else _module.kernel_set(name),
            )
        )
    return out
