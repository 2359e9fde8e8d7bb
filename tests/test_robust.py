"""Nothing is lost: the short forms of what `benchmarks/robust` does at length."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROBUST = Path(__file__).parents[1] / "benchmarks" / "robust"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.skipif(not ROBUST.is_dir(), reason="not a clone of the repository")
@pytest.mark.parametrize("what", ["kill", "disturb", "fuzz", "memory"])
def test_short(what):
    done = subprocess.run([sys.executable, ROBUST, what, "--short"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
