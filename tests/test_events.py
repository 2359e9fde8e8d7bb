"""Events of a batch, for other programs, and their file that stops it."""

import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_vdsr.atomic import claimed
from napari_vdsr.cli.events import STOP
from napari_vdsr.cli.main import app


@pytest.fixture
def vdsr():
    runner = CliRunner()
    return lambda *words: runner.invoke(app, ["upscale", *map(str, words), "-m", "bicubic"])


@pytest.fixture
def folder(tmp_path):
    for name in ("a.tif", "b ü.tif"):
        tifffile.imwrite(tmp_path / name, np.arange(120, dtype=np.uint16).reshape(10, 12))
    (tmp_path / "c.tif").write_bytes(b"no image")
    return tmp_path


def events_of(path):
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def kinds(events):
    return [event["event"] for event in events if event["event"] != "progress"]


def test_every_file_is_told_of_by_its_number(vdsr, folder):
    path = folder / "events.jsonl"
    path.write_text('{"event": "started", "pid": 1}\n')  # of an earlier run
    done = vdsr(folder, "-o", folder / "out", "--events", path)
    assert done.exit_code == 1
    events = events_of(path)
    assert kinds(events) == ["started", "planned", "result", "result", "result", "ended"]
    started, planned, *_, ended = events
    assert started["pid"] == os.getpid()
    sources = [str(folder / name) for name in ("a.tif", "b ü.tif", "c.tif")]
    assert [file["source"] for file in planned["files"]] == sources
    results = [event for event in events if event["event"] == "result"]
    assert [event["number"] for event in results] == [0, 1, 2]
    assert [event["status"] for event in results] == ["done", "done", "failed"]
    assert results[2]["line"].startswith("failed: ")
    assert ended["code"] == 1
    assert ended["summary"].startswith("2 of 3 files in order, 1 failed.")
    assert {event["number"] for event in events if event["event"] == "progress"} == {0, 1}


def test_a_dry_run_is_told_likewise(vdsr, folder):
    path = folder / "events.jsonl"
    vdsr(folder, "-o", folder / "out", "--events", path, "--dry-run", "--pattern", "a*")
    _, planned, result, _ = events_of(path)
    assert planned["dry_run"]
    assert (result["status"], result["output_shape"]) == ("planned", [20, 24])
    assert result["bytes"] == 20 * 24 * 2
    assert not (folder / "out").exists()


def test_an_error_is_told_where_it_ends(vdsr, folder):
    path = folder / "events.jsonl"
    done = vdsr(folder / "none", "-o", folder / "out", "--events", path)
    assert done.exit_code == 2
    started, ended = events_of(path)
    assert started["event"] == "started"
    assert ended["code"] == 2
    assert "no such file" in ended["error"]


def test_a_name_that_is_no_text_is_told(vdsr, folder):
    name = os.fsdecode(b"\xff.tif")
    try:
        os.rename(folder / "a.tif", folder / name)
    except OSError:
        pytest.skip("this file system has no such names")
    path = folder / "events.jsonl"
    vdsr(folder, "-o", folder / "out", "--events", path, "--pattern", "?.tif")
    planned = events_of(path)[1]
    assert str(folder / name) in [file["source"] for file in planned["files"]]


def test_events_that_cannot_be_written_stop_nothing(vdsr, folder, monkeypatch):
    path = folder / "events.jsonl"
    assert vdsr(folder, "-o", folder / "out", "--events", folder).exit_code == 2
    assert vdsr(folder, "-o", folder / "out", "--events", folder / "no/e").exit_code == 2
    open_ = type(path).open

    def full(self, *args, **options):
        if self == path:
            raise OSError(28, "No space left on device")
        return open_(self, *args, **options)

    monkeypatch.setattr(type(path), "open", full)
    done = vdsr(folder, "-o", folder / "out", "--events", path, "--pattern", "a*")
    assert done.exit_code == 1
    assert "the events cannot be written (no space left on device)" in done.output
    assert (folder / "out/a.tif").is_file()


@pytest.mark.slow
def test_the_stop_file_interrupts_and_the_same_command_goes_on(tmp_path):
    for number in range(12):
        data = np.random.default_rng(number).integers(0, 99, (500, 500)).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"{number:02}.tif", data)
    path = tmp_path / "events.jsonl"
    command = [
        sys.executable, "-P", "-m", "napari_vdsr", "upscale", str(tmp_path), "-m", "bicubic",
        "-s", "3", "-o", str(tmp_path / "out"), "--events", str(path),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (path.exists() and "result" in path.read_text()):
        time.sleep(0.02)
    stop = path.with_name(f"{path.name}{STOP}")
    stop.touch()
    _, told = process.communicate()
    assert process.returncode == 130, told
    assert "interrupted; the same command goes on" in told
    assert not stop.exists()
    events = events_of(path)
    assert events[-1] == {"event": "ended", "code": 130}
    done = sum(event["event"] == "result" for event in events)
    assert 0 < done < 12
    names = [entry.name for entry in (tmp_path / "out").iterdir()]
    assert len([name for name in names if not name.startswith(".")]) in (done, done + 1)
    again = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert again.count("already done") >= done


def test_what_another_run_is_at_is_waited_for_and_told(vdsr, folder):
    path, target = folder / "events.jsonl", folder / "out" / "a.tif"
    target.parent.mkdir()
    told = []

    def other():
        """Another run, which ends when this one says that it waits."""
        with claimed(target) as mine:
            told.append(mine)
            while not path.exists() or "waiting" not in kinds(events_of(path)):
                time.sleep(0.02)

    thread = threading.Thread(target=other)
    thread.start()
    while not told:
        time.sleep(0.01)
    done = vdsr(folder, "-o", target.parent, "--events", path, "--pattern", "[ab]*")
    thread.join()
    assert done.exit_code == 0
    assert f"waiting for {target}, which another run is at" in done.output
    assert kinds(events_of(path)) == ["started", "planned", "result", "waiting", "result", "ended"]
    assert [event["number"] for event in events_of(path) if event["event"] == "waiting"] == [0]
