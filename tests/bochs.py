"""Runs a program on a processor with AVX-512, emulated by Bochs.

Beside a Linux kernel it is all there is; what it prints comes back by the serial line. Needs Debian's bochs,
grub-pc-bin, grub-common, xorriso, mtools and cpio, and JAXINV_LINUX: the image of a kernel for
virtual machines, such as that in linux-image-cloud-amd64.
"""

import os
import pathlib
import shutil
import subprocess

from conftest import missing
from programs import build

_TOOLS = "bochs", "grub-mkrescue", "xorriso", "mcopy", "cpio"
# Without XSAVEC, whose sizes Bochs 2.7 reports such that Linux turns AVX off.
_MENU = """
set timeout=0
menuentry program {
  linux /boot/vmlinuz mitigations=off tsc=reliable clearcpuid=xsavec,xsaves
  initrd /boot/initrd
}
"""
_MACHINE = """
megs: 512
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model=corei7_skylake_x, ips=50000000, ignore_bad_msrs=1
ata0-master: type=cdrom, path={folder}/disk.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={folder}/serial.txt
log: {folder}/log.txt
display_library: rfb, options="timeout=0"
"""


def linux_kernel() -> str:
    """Its image. Skips, or fails, where that or a tool is missing."""
    absent = [tool for tool in _TOOLS if not shutil.which(tool)]
    kernel = os.environ.get("JAXINV_LINUX")
    if absent or not kernel:
        missing("avx512", f"{', '.join(absent) or 'JAXINV_LINUX'} is missing, see tests/{__name__}.py")
    return kernel


def run_in_bochs(program: pathlib.Path, compiler, kernel, timeout: float) -> str:
    """Output of a program that is linked statically, at some 25 million instructions a second."""
    folder = program.with_name(f"{program.name}-disk")
    root, disk = folder / "root", folder / "disk" / "boot"
    for path in (root / "proc", root / "dev", disk / "grub"):
        path.mkdir(parents=True)
    build(compiler, root, ["tests/cpp/init.cc"], ["-static"], "init")
    shutil.copy(program, root / "program")
    files = b"proc\ndev\ninit\nprogram\n"
    archive = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=files, check=True, stdout=subprocess.PIPE
    )
    (disk / "initrd").write_bytes(archive.stdout)
    shutil.copy(kernel, disk / "vmlinuz")
    (disk / "grub" / "grub.cfg").write_text(_MENU)
    subprocess.run(
        ["grub-mkrescue", "-o", folder / "disk.iso", folder / "disk"], check=True, capture_output=True
    )
    (folder / "bochsrc").write_text(_MACHINE.format(folder=folder))
    (folder / "start").write_text("c\n")  # Debian's Bochs begins in its debugger
    command = ["bochs", "-q", "-f", folder / "bochsrc", "-rc", folder / "start"]
    # It ends with 1 when the machine is turned off.
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)
    return (folder / "serial.txt").read_text()
