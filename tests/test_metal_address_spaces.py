"""clang, as C++ for OpenCL, checks in the Metal kernels what no C++ compiler knows: address spaces.

device is __global, threadgroup __local, constant __constant, thread __private (tests/cpp/msl/opencl). OpenCL
has an address space for pointers that name none, Metal has not: those are looked for in the syntax tree.
"""

import pytest
from conftest import missing
from programs import ROOT

_SOURCES = sorted(ROOT.glob("metal/*.metal"))
_SPACES = ("__global", "__constant", "__local", "__private")
_FLAGS = ["-x", "clcpp", "-cl-std=clc++1.0", "-cl-no-stdinc", "-target", "spir64", f"-I{ROOT}"]
_FLAGS += [f"-I{ROOT}/tests/cpp/msl/opencl", "-D__METAL_VERSION__=310", "-Wno-unknown-attributes"]


@pytest.fixture(scope="module")
def cindex():
    try:
        import clang.cindex

        clang.cindex.conf.lib  # noqa: B018  (loads the library)
    except (ImportError, OSError) as error:
        missing("metal-compile", f"libclang cannot be loaded: {error}")
    return clang.cindex


def _findings(cindex, source, changed=()):
    """What is wrong with a source; `changed` are files with other contents than theirs, (path, text)."""
    unsaved = [(str(path), text) for path, text in changed]
    unit = cindex.Index.create().parse(str(source), _FLAGS, unsaved)
    found = {f"{d.location.file}:{d.location.line}: {d.spelling}" for d in unit.diagnostics}
    declarations = {"PARM_DECL", "VAR_DECL", "FIELD_DECL"}
    for cursor in unit.cursor.walk_preorder():
        path = str(cursor.location.file)
        if not path.startswith((f"{ROOT}/metal/", f"{ROOT}/core/")):
            continue
        kind, type_ = cursor.kind.name, cursor.type
        place = f"{path}:{cursor.location.line}"
        if kind == "LAMBDA_EXPR":
            found.add(f"{place}: Metal has no lambdas")
        if type_.kind.name == "DOUBLE":
            found.add(f"{place}: Metal has no double")
        if kind in declarations and type_.kind.name in ("POINTER", "LVALUEREFERENCE", "RVALUEREFERENCE"):
            if not any(space in type_.get_pointee().spelling for space in _SPACES):
                found.add(f"{place}: {cursor.spelling} names no address space")
    return sorted(found)


@pytest.mark.parametrize("source", _SOURCES, ids=lambda path: path.name)
def test_every_pointer_has_its_address_space(cindex, source):
    assert not _findings(cindex, source)


# Source, file, what it says, what it says wrongly, what is found.
_PLANTED = {
    "threadgroup memory as device memory": (
        "inverse_thread",
        "inverse_thread.h",
        "threadgroup typename Memory<V>::type* slots =",
        "device typename Memory<V>::type* slots =",
        "cannot initialize a variable of type",
    ),
    "threadgroup memory for a buffer": (
        "inverse_simdgroup",
        "inverse_simdgroup.h",
        "Span<V>::load(b.a,",
        "Span<V>::load(own,",
        "no matching function",
    ),
    "no address space": (
        "inverse_thread",
        "numbers.h",
        "take_exponent(thread V& x)",
        "take_exponent(V& x)",
        "x names no address space",
    ),
    "lambda": (
        "inverse_grid",
        "results.h",
        "int odd = 0;",
        "auto zero = [] { return 0; }; int odd = zero();",
        "Metal has no lambdas",
    ),
    "double": (
        "triple_product",
        "numbers.h",
        "(tiny ? power_of_two(64) : 1.0f)",
        "(tiny ? 2.0 : 1.0)",
        "Metal has no double",
    ),
}


@pytest.mark.parametrize("mistake", _PLANTED)
def test_planted_mistakes_show(cindex, mistake):
    source, name, old, new, message = _PLANTED[mistake]
    path = ROOT / "metal" / name
    assert old in path.read_text()
    found = _findings(cindex, ROOT / f"metal/{source}.metal", [(path, path.read_text().replace(old, new))])
    assert any(message in line for line in found), found
