"""What is said to glibc is taken, in processes of their own: it cannot be taken back."""

import platform
import subprocess
import sys

import pytest

# Blocks as a step of training has them, taken and freed again and again: pages mapped by each.
WORK = """
import resource
import numpy as np
from napari_vdsr import heap
{said}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    blocks = [np.ones(2_000_000, np.uint8) for _ in range(20)]
work()
before = faults()
for _ in range(10):
    work()
print((faults() - before) // 10)
"""


def mapped(said):
    run = subprocess.run(
        [sys.executable, "-c", WORK.format(said=said)], capture_output=True, text=True, check=True
    )
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_what_is_free_is_kept_or_given_back():
    pages = 20 * 2_000_000 // 4096
    assert mapped("heap.give_back_at_once()") > 0.9 * pages
    assert mapped("heap.keep_for_reuse()") < 0.1 * pages


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", lambda name: pytest.fail("asked"))
    from napari_vdsr import heap

    heap.keep_for_reuse()
    heap.give_back_at_once()
