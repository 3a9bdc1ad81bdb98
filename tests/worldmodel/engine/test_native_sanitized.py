"""The native engine under the address and undefined-behaviour sanitizers: playing, and on weights that are not any."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

from kernels.native_build import COMPILERS, SANITIZERS, build, own_paths

CHILD = ROOT / "tests/sanitized.py"


@pytest.fixture(scope="module")
def first_library(tmp_path_factory):
    """The sanitizers' own library, which a process that was not compiled with them must load before all others."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None or "clang" in subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout:
        pytest.skip("needs g++")
    folder = tmp_path_factory.mktemp("sanitizers")
    source = folder / "one.cpp"
    source.write_text("int main() { return 0; }\n")
    flags = [flag for flag in SANITIZERS if flag.startswith("-fsanitize")]
    made = subprocess.run([compiler, *flags, "-o", str(folder / "one"), str(source)], capture_output=True)
    if made.returncode or subprocess.run([folder / "one"], capture_output=True).returncode:
        pytest.skip(f"{compiler} has no sanitizers here")
    return subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("path", ["portable", "amx"])  # the others' places in memory are those of the first
def test_no_weights_make_it_leave_its_memory(first_library, path):
    if path not in own_paths():
        pytest.skip(f"this processor has no {path}")
    build(path, extra=SANITIZERS)
    environment = os.environ | {
        "LD_PRELOAD": first_library,
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter's own are not ours
        "PYTHONPATH": os.pathsep.join(map(str, (CHILD.parent, CHILD.parent.parent))),
    }
    done = subprocess.run([sys.executable, str(CHILD), path], capture_output=True, text=True, env=environment)
    assert done.stdout == "clean\n", done.stderr[-2000:]
    assert "heap-buffer-overflow" in done.stderr, "it reads outside at the end, and that must be seen"
