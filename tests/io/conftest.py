"""A watch over open file handles."""

import time

import psutil
import pytest

PROCESS = psutil.Process()
PATIENCE = 300  # seconds: only a file that stays open takes them, on however busy a machine


@pytest.fixture(autouse=True)
def no_open_files():
    """No reader or writer may leave a file open."""
    before = {file.path for file in PROCESS.open_files()}
    yield
    end = time.monotonic() + PATIENCE
    while left := {file.path for file in PROCESS.open_files()} - before:
        # After an error, zarr's threads may still be reading the pieces beside it.
        assert time.monotonic() < end, f"files left open: {left}"
        time.sleep(0.05)
