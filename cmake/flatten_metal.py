"""Makes one text of Metal sources and what they include of this project, as Metal compiles from memory.

python flatten_metal.py ROOT RESULT SOURCE...      the text itself
python flatten_metal.py ROOT RESULT.cc SOURCE...   a C++ file that defines it as kLibraryText
"""

import pathlib
import re
import sys

_CC = """// Made by cmake/flatten_metal.py.
#include "metal/device.h"

namespace jaxinv::metal {{
const char* const kLibraryText = R"msl({})msl";
}}  // namespace jaxinv::metal
"""


def flatten(root: pathlib.Path, sources: list[str]) -> str:
    """Each file once, where it is first included; includes in <> stay."""
    seen: set[str] = set()
    lines: list[str] = []

    def add(name: str) -> None:
        if name in seen:
            return
        seen.add(name)
        depth = 0
        for number, line in enumerate(root.joinpath(name).read_text().splitlines(), 1):
            directive = re.match(r"\s*#\s*(\w+)", line)
            word = directive[1] if directive else ""
            depth += (word in ("if", "ifdef", "ifndef")) - (word == "endif")
            quoted = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if quoted and depth:
                # It would be missing where the condition is false, although another file needs it.
                sys.exit(f"{name}:{number}: an include of a file of this project under a condition")
            if quoted:
                add(quoted[1])
            elif word != "pragma" or "once" not in line:
                lines.append(line)

    for source in sources:
        add(source)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    root, result, *sources = sys.argv[1:]
    text = flatten(pathlib.Path(root), sources)
    pathlib.Path(result).write_text(_CC.format(text) if result.endswith(".cc") else text)
