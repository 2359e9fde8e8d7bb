"""``napari FILE``, worked by real clicks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from skimage import data, io

DRIVER = Path(__file__).with_name("mouse_driver.py")


@pytest.mark.skipif(
    not os.environ.get("DISPLAY") or shutil.which("xdotool") is None,
    reason="needs an X server and xdotool",
)
@pytest.mark.slow
@pytest.mark.window
@pytest.mark.timeout(1800)
def test_an_upscale_by_mouse_alone(tmp_path, shared_window):
    shared_window.close()  # nothing else is to lie under the mouse
    picture = tmp_path / "tissue.png"
    io.imsave(picture, data.immunohistochemistry()[:40, :45])
    done = subprocess.run(
        [sys.executable, DRIVER, picture],
        capture_output=True,
        text=True,
        env={**os.environ, "NAPARI_CONFIG": str(tmp_path / "settings.yaml")},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, done.stdout + done.stderr
    assert json.loads(lines[-1]) == {
        "error": "",
        "reached": [
            "VDSR compare",
            "VDSR train",
            "VDSR upscale",
            "tissue [preview]",
            "tissue [lite x2]",
            [[40, 45, 3], [80, 90, 3]],
            True,
        ],
    }
