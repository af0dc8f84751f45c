"""Builds and runs the C++ test programs."""

import os
import pathlib
import shutil
import subprocess

from conftest import missing

ROOT = pathlib.Path(__file__).parent.parent

# For CUDA kernels on the SIMT emulator. JAXINV_UNROLL empty: loops stay loops, and compile in a third of the
# time.
EMULATED = ["-Itests/cpp/simt", "-DJAXINV_UNROLL=", "-Wno-unknown-pragmas", "-fno-strict-aliasing"]
EMULATED += ["-ffp-contract=fast", "-Wextra"]


def find_compiler() -> str:
    name = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not name:
        missing("compiler", "there is no C++ compiler")
    return name


def build(compiler, folder, sources, flags, name="program") -> pathlib.Path:
    program = folder / name
    command = [compiler, "-std=c++17", "-O1", "-g1", "-I.", "-Wall", "-Wno-psabi", *flags, *sources]
    built = subprocess.run([*command, "-o", str(program)], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return program


def run(program, *arguments, timeout=120) -> str:
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_and_run(compiler, folder, sources, flags) -> str:
    return run(build(compiler, folder, sources, flags))
