"""Sample files where they are at hand, and a watch over open file handles."""

import os
from pathlib import Path

import psutil
import pytest

TIFF = (".tif", ".tiff", ".svs")


def sample_folder() -> Path | None:
    """The optional folder of real-world files: $VDSR_SHARED, or `shared` beside the repository."""
    shared = Path(os.environ.get("VDSR_SHARED", Path(__file__).parents[3] / "shared")).resolve()
    folder = shared / "data" / "samples"
    return folder if folder.is_dir() else None


def sample_files() -> list[Path]:
    folder = sample_folder()
    if folder is None:
        return []
    return sorted(
        path
        for path in folder.glob("*/*")
        if path.suffix not in (".tsv", ".md", ".zarr") and path.parent.name != "zarr"
    )


def pytest_generate_tests(metafunc):
    """Run a test once for each sample file of the kind that its argument names."""
    kinds = {
        "sample": lambda path: True,
        "valid_tiff": lambda path: path.parent.name != "broken" and path.suffix.lower() in TIFF,
        "picture": lambda path: path.parent.name == "png_jpg_bmp",
    }
    for argument in kinds.keys() & set(metafunc.fixturenames):
        files = [path for path in sample_files() if kinds[argument](path)]
        metafunc.parametrize(
            argument,
            files or [pytest.param(None, marks=pytest.mark.skip(reason="no sample files"))],
            ids=[f"{path.parent.name}/{path.name}" for path in files] or ["none"],
        )


@pytest.fixture(autouse=True)
def no_open_files():
    """No reader or writer may leave a file open."""
    process = psutil.Process()
    before = {file.path for file in process.open_files()}
    yield
    left = {file.path for file in process.open_files()} - before
    assert not left, f"files left open: {left}"
