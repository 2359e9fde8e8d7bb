"""Processes that outlive the window, and what is known of them."""

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from napari_vdsr.atomic import claimed
from napari_vdsr.errors import VdsrError
from napari_vdsr.plugin import batch_runs as runs
from napari_vdsr.plugin.batch_form import split
from napari_vdsr.plugin.batch_report import read_report, report_html
from napari_vdsr.plugin.batch_runs import BatchRun, Phase, Reading


@pytest.fixture
def known(batches):
    """Make what is left of a batch: a folder, and its events."""

    def make(name, events=(), **values):
        folder = batches / name
        folder.mkdir(parents=True)
        values = {"host": platform.node(), "started": time.time(), **values}
        run = BatchRun(folder, words=["a"], cwd=os.getcwd(), **values)
        run.keep()
        if events:
            lines = "".join(f"{json.dumps(event)}\n" for event in events)
            (folder / runs.EVENTS).write_text(lines)
        return run

    return make


@pytest.mark.slow
def test_a_batch_survives_whoever_began_it(tmp_path, batches):
    """Its own session, so that neither a closing terminal nor a closing napari takes it along."""
    for number in range(12):
        data = np.random.default_rng(number).integers(0, 99, (500, 500)).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"{number}.tif", data)
    words = ["-o", str(tmp_path / "out"), "-m", "bicubic", "--scale=3", "--", str(tmp_path)]
    code = (
        "import sys, os, signal; from pathlib import Path\n"
        "from napari_vdsr.plugin import batch_runs as runs\n"
        f"runs.runs_folder = lambda: Path({str(batches)!r})\n"
        f"print(runs.begin({words!r}).pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    pid = int(done.stdout)
    (run,) = runs.found()
    assert run.phase() == Phase.RUNNING
    assert os.getsid(pid) == pid
    reading = Reading(run)
    while reading.end is None:
        reading.read()
        assert run.phase(reading.end is not None) != Phase.KILLED
        time.sleep(0.05)
    assert reading.end["code"] == 0
    assert reading.counts == {"done": 12}
    assert runs.has_ended(run)
    again = shlex.split(runs.shell_command(words))
    command = [sys.executable, "-P", "-m", "napari_vdsr", *again[again.index("upscale") :]]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.count("already done") == 12


@pytest.mark.window
@pytest.mark.skipif(not os.environ.get("DISPLAY"), reason="no X server: run under xvfb-run")
def test_a_batch_survives_the_closing_of_napari_and_its_command_repeats_it(tmp_path, monkeypatch):
    images = tmp_path / "ima ges 'ü'"
    images.mkdir()
    data = np.random.default_rng(0).integers(0, 99, (600, 600)).astype(np.uint16)
    for number in range(10):
        tifffile.imwrite(images / f"-{number}.tif", data)
    driver = Path(__file__).with_name("batch_driver.py")
    (tmp_path / "out").mkdir()
    # However long napari takes to close, the batch waits for one of its files till then.
    with claimed(tmp_path / "out" / "-5.tif"):
        begun = subprocess.run(
            [sys.executable, driver, images, tmp_path / "out"], capture_output=True, text=True,
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path), "NAPARI_CONFIG": ""},
        )  # fmt: skip
        assert begun.returncode == 0, begun.stderr
        monkeypatch.setattr(runs, "runs_folder", lambda: tmp_path / "napari-vdsr" / "batches")
        (run,) = runs.found()
        reading = Reading(run)
        reading.read()
        assert reading.end is None
        assert reading.through < 10
    while reading.end is None:
        time.sleep(0.1)
        reading.read()
        assert run.phase(reading.end is not None) != Phase.KILLED
    assert (reading.end["code"], reading.counts) == (0, {"done": 10})
    words = shlex.split(begun.stdout)
    command = [sys.executable, "-P", "-m", "napari_vdsr", *words[words.index("upscale") :]]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.count("already done") == 10


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_how_it_is_set_apart(system):
    flags = {"creationflags": 0x8 | 0x200}  # DETACHED_PROCESS, CREATE_NEW_PROCESS_GROUP
    assert runs.apart(system) == (flags if system == "win32" else {"start_new_session": True})


def test_flags_are_those_of_windows():
    if sys.platform == "win32":
        assert runs.DETACHED_PROCESS == subprocess.DETACHED_PROCESS
        assert runs.NEW_GROUP == subprocess.CREATE_NEW_PROCESS_GROUP


class TestPhase:
    def test_a_process_that_is_there(self, known):
        run = known("a", pid=os.getpid(), seen_at=time.time())
        assert run.phase() == Phase.RUNNING
        assert run.phase(ended=True) == Phase.ENDED

    def test_a_process_of_another_time_is_not_it(self, known):
        born = psutil.Process().create_time()
        assert known("a", pid=os.getpid(), seen_at=born - 60).phase() == Phase.KILLED

    def test_one_that_has_gone(self, known):
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        assert known("a", pid=process.pid, seen_at=time.time()).phase() == Phase.KILLED

    def test_one_that_nobody_waits_for(self, known):
        process = subprocess.Popen([sys.executable, "-c", ""])
        run = known("a", pid=process.pid, seen_at=time.time())
        deadline = time.time() + 60
        while run.phase() == Phase.RUNNING and time.time() < deadline:
            time.sleep(0.02)
        assert run.phase() == Phase.KILLED
        process.wait()

    def test_one_that_was_never_begun(self, known):
        assert known("a", started=time.time()).phase() == Phase.RUNNING
        assert known("b", started=time.time() - 3600).phase() == Phase.KILLED

    def test_one_on_another_computer(self, known):
        run = known("a", pid=os.getpid(), seen_at=time.time(), host="node-7")
        assert run.phase() == Phase.ELSEWHERE
        run.kill()  # not the process of this number here


def test_others_folders_and_damaged_ones_are_passed_over(known, batches):
    run = known("2")
    known("1", dry_run=True)
    (batches / "0").mkdir()
    for name, content in (("3", "{"), ("4", "[]"), ("5", '{"words": 3, "cwd": "a"}')):
        (batches / name).mkdir()
        (batches / name / runs.RUN).write_text(content)
    assert [one.folder for one in runs.found()] == [run.folder]


def test_old_ones_go_and_running_ones_stay(known, batches, monkeypatch):
    monkeypatch.setattr(runs, "KEPT", 2)
    ended = [{"event": "ended", "code": 0}]
    known("1", pid=os.getpid(), seen_at=time.time())
    for number in range(2, 6):
        known(str(number), ended)
    known("6", ended, dry_run=True, started=time.time() - 9999)
    known("7", ended, dry_run=True)  # which another window may be about to read
    runs.prune()
    assert not (batches / "6").exists()
    assert (batches / "7").exists()
    assert [run.folder.name for run in runs.found()] == ["5", "4", "1"]


def test_a_folder_that_is_gone_is_none_to_run_in(tmp_path, monkeypatch):
    def gone():
        raise FileNotFoundError

    monkeypatch.setattr(os, "getcwd", gone)
    assert runs.here() == str(Path.home())


def test_what_cannot_be_started_leaves_nothing(batches, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(VdsrError, match="could not be started"):
        runs.begin(["a"])
    assert runs.found() == []


class TestReading:
    def test_half_a_line_waits_for_its_rest(self, known):
        run = known("a")
        path = run.folder / runs.EVENTS
        reading = Reading(run)
        assert reading.read() == (False, set(), False)
        planned = json.dumps({"event": "planned", "files": [{"source": "a", "target": "b"}]})
        path.write_text(planned[:10])
        assert reading.read() == (False, set(), False)
        path.write_text(f"{planned}\nno json\n[]\n")
        assert reading.read() == (True, set(), False)
        with path.open("a") as file:
            file.write('{"event": "progress", "number": 0, "done": 1, "of": 2}\n')
            file.write('{"event": "progress", "number": 7, "done": 1, "of": 2}\n')
        assert reading.read() == (False, {0}, False)
        assert reading.rows[0]["status"] == "at work"

    def test_what_another_run_is_at(self, known):
        files = [{"source": name, "target": "b"} for name in "ab"]
        done = {"event": "result", "number": 0, "status": "done", "seconds": 2.0}
        waiting = {"event": "waiting", "number": 1}
        run = known("a", [{"event": "planned", "files": files}, done, waiting])
        reading = Reading(run)
        reading.read()
        assert reading.waits
        assert [row["status"] for row in reading.rows] == ["done", runs.BY_ANOTHER]
        with (run.folder / runs.EVENTS).open("a") as file:
            print(json.dumps({**done, "number": 1, "status": "already done"}), file=file)
        reading.read()
        assert not reading.waits

    def test_a_long_list_is_read_by_pieces(self, known, monkeypatch):
        monkeypatch.setattr(runs, "READ", 100)
        files = [{"source": f"{number}.tif", "target": "b"} for number in range(50)]
        results = [
            {"event": "result", "number": number, "status": "done", "seconds": 2.0}
            for number in range(25)
        ]
        reading = Reading(known("a", [{"event": "planned", "files": files}, *results]))
        rounds = 0
        while reading.through < 25:
            reading.read()
            rounds += 1
        assert rounds > 5
        assert reading.seconds_left() == 50.0


class TestCommand:
    words = ("-o", "out", "--", "a b", "it's", "ü", "$HOME", "`x`", "\\", "", "a\nb", "-c", "*")

    def test_a_shell_takes_it_apart_again(self):
        words = (*self.words, os.fsdecode(b"\xff\xc3\xbc"))
        line = runs.shell_command(words, system="linux").split(" upscale ", 1)[1]
        code = "import os, sys; sys.stdout.buffer.write(b'|'.join(map(os.fsencode, sys.argv[1:])))"
        command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} {line}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, check=True).stdout
        assert done.split(b"|") == [os.fsencode(word) for word in words]
        assert "\n" not in line

    def test_its_folder_goes_before(self):
        assert runs.shell_command(["a"], "/x y", "linux").startswith("cd '/x y' && ")
        assert runs.shell_command(["a"], "C:\\x y", "win32").startswith('cd /d "C:\\x y" && ')

    @pytest.mark.parametrize(
        ("word", "quoted"),
        [
            ("C:\\a\\b.tif", "C:\\a\\b.tif"),
            ("C:\\a b\\", '"C:\\a b\\\\"'),
            ("a&b", '"a&b"'),
            ("a&b\\", '"a&b\\\\"'),
            ("ü (1).tif", '"ü (1).tif"'),
            ("", '""'),
            ("--scale=2", "--scale=2"),
        ],
    )
    def test_on_windows(self, word, quoted):
        assert runs.shell_command([word], system="win32").endswith(f" upscale {quoted}")

    @pytest.mark.parametrize(
        ("text", "system", "words"),
        [
            ("--crop 0:5,0:5  -q", "linux", ["--crop", "0:5,0:5", "-q"]),
            (r"--log-file 'a b' c\ d # e", "linux", ["--log-file", "a b", "c d", "#", "e"]),
            (r'--log-file "C:\a b\c" C:\d', "win32", ["--log-file", r"C:\a b\c", r"C:\d"]),
        ],
    )
    def test_further_options_are_split_as_a_terminal_does(self, text, system, words):
        assert split(text, system) == words


def test_a_report_is_read_by_people(tmp_path):
    path = tmp_path / "report.json"
    with pytest.raises(VdsrError, match="no report"):
        read_report(path)
    file = {"status": "done", "source": "<b>.tif", "axes": "YX", "shape": [3, 4], "notes": ["n"],
            "output_shape": [6, 8], "dtype": "uint8", "reason": ""}  # fmt: skip
    bad = {**file, "status": "failed", "source": "z.tif", "output_shape": [], "reason": "broken"}
    content = {
        "software": "napari-vdsr", "model": {"name": "vdsr", "sha256": "0" * 64},
        "parameters": {"scale": [2, 2], "axes": None}, "total": 3,
        "counts": {"done": 1, "failed": 1}, "files": [file, bad],
    }  # fmt: skip
    path.write_text(json.dumps(content))
    text = report_html(read_report(path))
    assert "1 done, 1 failed of 3 files, 1 not begun" in text
    assert text.index("z.tif") < text.index("&lt;b&gt;.tif")
    assert "Y3 X4 → Y6 X8 uint8" in text
