"""The native engine on ARM, in an emulator: what it draws and knows there has the bits that it has here.

apt-get install g++-aarch64-linux-gnu qemu-user-static
"""

import shutil
import subprocess

import pytest
from conftest import ROOT

from kernels.native_build import FLAGS, PATHS, SOURCES

CROSS, EMULATOR, HERE = (shutil.which(name) for name in ("aarch64-linux-gnu-g++", "qemu-aarch64-static", "g++"))
DRIVER = ROOT / "tests/native_driver.cpp"


def played(folder, name, compiler, flags, *run):
    program = folder / name
    kept = [flag for flag in FLAGS if flag not in ("-fPIC", "-shared")]
    command = [compiler, *kept, "-O1", *flags, "-I", SOURCES, "-o", program, DRIVER]
    subprocess.run(command, check=True)
    return subprocess.run([*run, program], check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(not (CROSS and EMULATOR and HERE), reason="needs g++, g++-aarch64-linux-gnu and qemu-user-static")
def test_arm_gives_the_same_bits(tmp_path):
    expected = played(tmp_path, "here", HERE, ())
    assert len(expected.splitlines()) == 18
    arm = PATHS["neon-dotprod"].flags
    assert played(tmp_path, "arm", CROSS, (*arm, "-static"), EMULATOR) == expected
