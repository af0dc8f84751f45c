"""Which part may know which, read off the sources: an arrow that points the wrong way fails here."""

import ast
import pathlib
import re

import pytest

_ROOT = pathlib.Path(__file__).parent.parent
_CPP = sorted(
    p for d in ("core", "cpu", "cuda", "metal", "xla_ffi") for p in (_ROOT / d).rglob("*") if p.is_file()
)
_PYTHON = sorted((_ROOT / "jaxinv").rglob("*.py"))
_SOURCES = [
    *_CPP,
    *_PYTHON,
    *sorted((_ROOT / "tests").rglob("*.py")),
    *sorted((_ROOT / "tests").rglob("*.cc")),
]

# What a folder of C++ may include of the project, and which foreign headers.
_MAY_INCLUDE = {
    "core": ({"core"}, ()),
    "cpu": ({"core", "cpu"}, ("sys/mman.h", "unistd.h", "cpuid.h", "xmmintrin.h", "immintrin.h")),
    "cuda": ({"core", "cuda"}, ("cuda",)),
    "metal": ({"core", "metal"}, ("metal_stdlib", "objc/", "dispatch/", "unistd.h")),
    "xla_ffi": ({"core", "cpu", "cuda", "metal", "xla_ffi"}, ("xla/ffi/", "nanobind/")),
}


def _name(path):
    return str(path.relative_to(_ROOT))


def _includes(path):
    return re.findall(r'^\s*#\s*include\s+["<]([^">]+)[">]', path.read_text(), re.MULTILINE)


def test_there_is_something_to_read():
    assert {p.parts[len(_ROOT.parts)] for p in _CPP} >= {"core", "cpu", "xla_ffi"}
    assert len(_PYTHON) > 10


@pytest.mark.parametrize("path", _CPP, ids=_name)
def test_includes(path):
    own, foreign = _MAY_INCLUDE[path.relative_to(_ROOT).parts[0]]
    for header in _includes(path):
        folder = header.split("/")[0]
        if folder in _MAY_INCLUDE:
            assert folder in own, f"{_name(path)} includes {header}"
        elif "/" in header or header.endswith(".h"):
            assert header.startswith(foreign), f"{_name(path)} includes {header}"


def test_kernels_use_no_shared_inline_function():
    """What is compiled per instruction set must not bring code that the linker may share."""
    for path in [
        _ROOT / "cpu/kernels.cc",
        *(_ROOT / "cpu").glob("*_lanes.h"),
        *(_ROOT / "cpu").glob("*blocked.h"),
        *(_ROOT / "cpu").glob("inverse_*.h"),
        *(_ROOT / "cpu").glob("*elimination*.h"),
        _ROOT / "cpu/columns.h",
    ]:
        standard = [h for h in _includes(path) if "/" not in h]
        assert set(standard) <= {"cstddef", "cstdint", "cstring", "type_traits", "utility"}, _name(path)


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(path)}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


# Python module or folder -> prefixes it must not import.
_MUST_NOT_IMPORT = {
    "jaxinv/linalg/": ("jaxinv._native", "jaxinv._primitive", "_jaxinv", "jax.ffi"),
    "jaxinv/_ops/": ("jaxinv._native", "jaxinv.linalg", "jaxinv._cli", "_jaxinv", "jax.ffi"),
    "jaxinv/_primitive.py": ("jaxinv._ops", "jaxinv.linalg", "jaxinv._cli", "_jaxinv"),
    "jaxinv/_native.py": ("jaxinv._ops", "jaxinv._primitive", "jaxinv.linalg", "jaxinv._cli"),
    "jaxinv/explain.py": ("jaxinv._ops", "jaxinv._primitive", "jaxinv._cli", "_jaxinv"),
    "jaxinv/lineax.py": ("jaxinv._native", "jaxinv._primitive", "jaxinv._cli", "_jaxinv", "jax.ffi"),
    "jaxinv/_cli/": ("jaxinv._ops", "jaxinv._primitive", "_jaxinv"),
}


@pytest.mark.parametrize("path", _PYTHON, ids=_name)
def test_imports(path):
    name = _name(path)
    forbidden = [p for key, values in _MUST_NOT_IMPORT.items() if name.startswith(key) for p in values]
    if name != "jaxinv/_primitive.py":
        forbidden.append("jax.interpreters")
    forbidden.append("jax._src")
    for module in _imports(path):
        for prefix in forbidden:
            assert not (module == prefix or module.startswith(f"{prefix}.")), f"{name} imports {module}"


@pytest.mark.parametrize("path", _SOURCES, ids=_name)
def test_file_is_short_and_tells_nothing_of_the_machine(path):
    text = path.read_text()
    assert text.count("\n") <= 400, f"{_name(path)} has {text.count(chr(10))} lines"
    assert not re.search(r"/(home|root|work|Users)/", text), f"{_name(path)} has a path of somebody's machine"
