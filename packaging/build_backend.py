"""scikit-build-core, after deciding whether there is native code to build.

JAXINV_NATIVE=OFF makes a pure-Python wheel. So does AUTO (the default) where no working C++17 compiler is
found, and with MSVC, whose vector extensions are not those of the kernels.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scikit_build_core.build import *  # noqa: F403


def _compiler_works() -> bool:
    named = shlex.split(os.environ.get("CXX", ""))
    candidates = [named] if named else [[name] for name in ("c++", "g++", "clang++")]
    for command in candidates:
        if not shutil.which(command[0]):
            continue
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.cc")
            source.write_text("#include <memory>\nint main() { return *std::make_unique<int>(0); }\n")
            compile_ = [*command, "-std=c++17", str(source), "-o", str(Path(folder, "probe"))]
            if subprocess.run(compile_, capture_output=True).returncode == 0:
                return True
    return False


if os.environ.get("JAXINV_NATIVE", "AUTO") in ("", "AUTO"):
    if sys.platform == "win32" or not _compiler_works():
        os.environ["JAXINV_NATIVE"] = "OFF"
        print("jaxinv: no working C++17 compiler; building the pure-Python wheel", file=sys.stderr)
