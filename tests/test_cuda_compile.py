"""nvcc compiles every CUDA kernel; ptxas says what each keeps in registers, and that none spills."""

import concurrent.futures
import re
import shutil
import subprocess

import pytest
from conftest import missing
from programs import ROOT

_VALUES = ("float", "double", "Complex<float>", "Complex<double>")
_REGISTERS = ROOT / "cuda/registers.txt"


@pytest.fixture
def nvcc() -> str:
    name = shutil.which("nvcc")
    if not name:
        missing("cuda-compile", "nvcc is not on the PATH")
    return name


def _table(nvcc, folder) -> list[str]:
    """Registers of every kernel on sm_90, as ptxas reports them, and what it had to spill."""

    def compile_(value):
        command = [nvcc, "-std=c++17", "-O3", "-I.", f"-DJAXINV_VALUE={value}", "-cubin", "-arch=sm_90"]
        command += ["-Xptxas=-v", "cuda/kernels.cu", "-o", str(folder / f"{_VALUES.index(value)}.cubin")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        rows = re.findall(
            r"entry function '_ZN6jaxinv4cuda(\d+)(\w+)'.*?\n.*?\n\s+"
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads\n.*?Used (\d+) reg",
            done.stderr,
        )
        assert len(rows) == done.stderr.count("Compiling entry function")
        for length, mangled, *spills, registers in rows:
            n = "".join(re.findall(r"Li\d+E", mangled)[:1]).strip("LiE")
            name = f"{mangled[: int(length)]}<{value}{n and ', '}{n}>"
            yield f"{name}: {registers} registers", [int(s) for s in spills]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        rows = [row for rows in pool.map(lambda v: list(compile_(v)), _VALUES) for row in rows]
    spilling = [name for name, spills in rows if any(spills)]
    assert not spilling, f"stack frames or spills in {spilling}"
    return sorted(
        (name for name, _ in rows),
        key=lambda r: [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", r)],
    )


def test_no_kernel_spills_and_the_table_of_registers_is_current(nvcc, tmp_path):
    """Written anew where it is not: see what moved before committing it. Other releases of nvcc differ."""
    release = re.search(
        r"release ([\d.]+)", subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout
    )
    text = "\n".join([f"# nvcc {release[1]}, sm_90: no stack frame, no spill", *_table(nvcc, tmp_path), ""])
    old = _REGISTERS.read_text() if _REGISTERS.exists() else ""
    if old.splitlines()[:1] != text.splitlines()[:1] and old:
        return  # the table is of another release; that nothing spills was checked
    if old != text:
        _REGISTERS.write_text(text)
    assert old == text, f"{_REGISTERS.name} was out of date"
