"""What a training step has freed serves the next one."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from worldmodel.training.run.memory import keep_memory
if sys.argv[1] == "kept":
    assert keep_memory()
def step():
    made = [torch.ones(10_000_000) for _ in range(3)]  # more than glibc keeps by itself
for _ in range(4):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asked of glibc")
def test_memory_that_was_freed_is_used_again():
    """10 steps of 114 MiB: without, each of their 29,000 pages comes anew."""
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True).stdout)
        for how in ("kept", "given back")
    )
    assert kept < given_back / 3
