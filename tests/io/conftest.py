"""A watch over open file handles."""

import time

import psutil
import pytest


@pytest.fixture(autouse=True)
def no_open_files():
    """No reader or writer may leave a file open."""
    process = psutil.Process()
    before = {file.path for file in process.open_files()}
    yield
    end = time.monotonic() + 5
    while left := {file.path for file in process.open_files()} - before:
        # After an error, zarr's threads may still be reading the pieces beside it.
        assert time.monotonic() < end, f"files left open: {left}"
        time.sleep(0.05)
