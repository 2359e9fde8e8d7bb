"""A watch over open file handles."""

import psutil
import pytest


@pytest.fixture(autouse=True)
def no_open_files():
    """No reader or writer may leave a file open."""
    process = psutil.Process()
    before = {file.path for file in process.open_files()}
    yield
    left = {file.path for file in process.open_files()} - before
    assert not left, f"files left open: {left}"
