"""Nothing is lost: the short forms of what `benchmarks/robust` does at length."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="not a clone of the repository")
@pytest.mark.parametrize(
    "what", ["robust kill", "robust disturb", "robust calls", "robust fuzz", "robust memory",
             "many_files.py"]
)  # fmt: skip
def test_short(what):
    script, *words = what.split()
    command = [sys.executable, BENCHMARKS / script, *words, "--short"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
