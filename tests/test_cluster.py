"""Several processes make what one makes; one that is killed costs the regions it was at."""

import os
import signal
import socket
from contextlib import ExitStack, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import dask
import numpy as np
import pytest
import tifffile
import torch

from napari_vdsr.batch import Settings, plan, run
from napari_vdsr.batch.cluster import Carrier, _wait_for_one, connected, device_of
from napari_vdsr.errors import ClusterError, ImageFileError, UsageError
from napari_vdsr.image import Image
from napari_vdsr.io import read_image, write_image
from napari_vdsr.model.file import load_model
from napari_vdsr.options import Options

SETTINGS = Settings(model=load_model("bicubic"), options=Options(tile=512), workers=1)
# What a process that is killed leaves to be said, and what distributed leaves open.
pytestmark = [
    pytest.mark.skipif(find_spec("distributed") is None, reason="distributed is not installed"),
    pytest.mark.xdist_group("cluster"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.slow,
    pytest.mark.timeout(240),
]
BACK = 120  # seconds that a process may take to come back, on however busy a machine


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def cluster():
    """Two processes, beside a server that has the port of dashboards, on a machine so slow that
    distributed gives a process up that was killed before it is back.

    They are forked from one that has imported what they need, once for all that are killed.
    """
    slow = {"distributed.deploy.lost-worker-timeout": "1ms"}
    forked = {"distributed.worker.multiprocessing-method": "forkserver"}
    with ExitStack() as stack:
        with suppress(OSError):  # another one has it
            stack.enter_context(socket.create_server(("", 8787)))
        stack.enter_context(dask.config.set({**slow, **(forked if hasattr(os, "fork") else {})}))
        if hasattr(os, "fork"):
            from distributed.utils import get_mp_context

            needed = ["distributed", "napari_vdsr.batch.cluster", "zarr"]
            get_mp_context().set_forkserver_preload(needed)
        yield stack.enter_context(connected("local:2"))


@pytest.fixture
def client(cluster):
    cluster.wait_for_workers(2, timeout=BACK)
    return cluster


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    data = np.random.default_rng(0).integers(0, 4000, (700, 900)).astype(np.uint16)
    path = tmp_path_factory.mktemp("source") / "in.ome.zarr"
    write_image(Image(data=data, axes="YX"), path)
    return path


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """What one process makes."""
    folder = tmp_path_factory.mktemp("whole")
    (result,) = run(plan([str(source)], folder), SETTINGS)
    assert result.status == "done", result.reason
    return tree(folder)


def test_two_processes_make_what_one_makes(client, source, tmp_path, shallow_model):
    """With a network, whose arithmetic must not depend on how many threads a process has."""
    settings = replace(SETTINGS, model=load_model("vdsr"))
    (whole,) = run(plan([str(source)], tmp_path / "whole"), settings)
    seen = []
    (result,) = run(
        plan([str(source)], tmp_path / "out"),
        settings,
        client=client,
        report=tmp_path / "report.json",
        on_progress=lambda job, done, of: seen.append((done, of)),
    )
    assert (whole.status, result.status) == ("done", "done"), result.reason
    assert seen[-1] == (12, 12)
    assert result.output_shape == whole.output_shape
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    (again,) = run(plan([str(source)], tmp_path / "out"), settings, client=client)
    assert again.status == "already done"
    assert (tmp_path / "report.json").exists()


def test_processes_that_are_started_anew(source, whole, tmp_path):
    """As everywhere but here, where they are forked."""
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "spawn"}),
        connected("local:1") as client,
    ):
        (result,) = run(plan([str(source)], tmp_path / "out"), SETTINGS, client=client)
    assert result.status == "done", result.reason
    assert tree(tmp_path / "out") == whole


def killer(pids):
    """What kills a process each time that there is progress, and the list of those that it has."""
    killed = []

    def kill(job, done, of):
        if len(killed) < len(pids):
            killed.append(pids[len(killed)])
            os.kill(killed[-1], signal.SIGKILL)

    return kill, killed


def test_a_killed_process_costs_its_regions_only(client, source, whole, tmp_path):
    """Also if it was the last one: all is left until one is back."""
    kill, killed = killer(list(client.run(os.getpid).values()))
    (result,) = run(
        plan([str(source)], tmp_path / "out"), SETTINGS, client=client, on_progress=kill
    )
    assert len(killed) == 2
    assert result.status == "done", result.reason
    assert tree(tmp_path / "out") == whole
    client.wait_for_workers(2, timeout=BACK)  # their places are taken again
    for pid in killed:
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            pytest.fail("it was not killed")


def test_what_a_cluster_left_undone_another_run_does(client, source, whole, tmp_path):
    class Interrupted(BaseException):
        pass

    def interrupt(job, done, of):
        raise Interrupted

    jobs = plan([str(source)], tmp_path / "out")
    with pytest.raises(Interrupted):
        run(jobs, SETTINGS, client=client, on_progress=interrupt)
    assert not (tmp_path / "out/in.ome.zarr").exists()
    (result,) = run(jobs, SETTINGS)
    assert result.status == "done", result.reason
    assert tree(tmp_path / "out") == whole


def test_many_files_are_spread_and_a_bad_one_stops_none(client, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for number in range(40):
        tifffile.imwrite(tmp_path / f"in/{number:02}.tif", rng.integers(0, 99, (20, 30), np.uint8))
    (tmp_path / "in/bad.tif").write_bytes(b"II*\0 no image")
    jobs = plan([str(tmp_path / "in")], tmp_path / "out")
    results = run(jobs, SETTINGS, client=client)
    assert len(results) == 41
    assert [Path(r.source).name for r in results if r.status == "failed"] == ["bad.tif"]
    run(jobs[:3], SETTINGS)
    for job in jobs[:3]:
        assert read_image(job.target).shape == (40, 60)
    again = run(jobs, SETTINGS, client=client)
    assert sum(result.status == "already done" for result in again) == 40


def test_a_format_of_one_piece_is_made_by_one_process_and_says_so(client, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((30, 40), np.uint8))
    settings = replace(SETTINGS, compression="zlib")
    (result,) = run(plan([str(tmp_path / "a.tif")], tmp_path / "out"), settings, client=client)
    assert result.status == "done", result.reason
    told = "made by one process, since a compressed plain TIFF is written in one piece; write an "
    assert result.notes[-1].startswith(told)


@pytest.mark.parametrize("changed", [{}, {"pyramid": True}, {"format": "imagej"}])
def test_raw_tiff_is_made_by_all_processes(client, source, tmp_path, changed):
    """One of them is killed on the way."""
    settings = replace(SETTINGS, **{"format": "ome-tiff", **changed})
    kind = settings.format
    (whole,) = run(plan([str(source)], tmp_path / "whole", format=kind), settings)
    assert whole.status == "done", whole.reason
    pids = list(client.run(os.getpid).values())
    assert len(pids) == 2
    kill, killed = killer(pids[:1])
    (result,) = run(
        plan([str(source)], tmp_path / "out", format=kind),
        settings,
        client=client,
        on_progress=kill,
    )
    assert result.status == "done", result.reason
    assert killed
    assert not [note for note in result.notes if "one process" in note]
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_a_failure_is_one_line_and_leaves_nothing(client, tmp_path):
    data = np.ones((900, 900), np.float32)
    data[-1, -1] = np.nan
    write_image(Image(data=data, axes="YX"), tmp_path / "in.ome.zarr")
    jobs = plan([str(tmp_path / "in.ome.zarr")], tmp_path / "out")
    settings = replace(SETTINGS, options=Options(tile=512, normalize=(0.0, 1.0)))
    (result,) = run(jobs, settings, client=client)
    assert result.status == "failed"
    assert "NaN or infinity" in result.reason
    assert "\n" not in result.reason
    assert not (tmp_path / "out/in.ome.zarr").exists()


def test_processes_that_are_not_alike_are_refused(source, tmp_path):
    """One would write its regions where nobody looks for them."""
    from napari_vdsr.batch.cluster import _same
    from napari_vdsr.batch.finishing import publish
    from napari_vdsr.batch.work import opened

    (job,) = plan([str(source)], tmp_path / "out")
    (tmp_path / "out").mkdir()
    image = SETTINGS.read(job)
    begun = opened(job, image, SETTINGS)
    assert _same(begun, begun.unfinished) is begun
    other = opened(job, image, replace(SETTINGS, options=Options(tile=1024)))
    with pytest.raises(ClusterError, match="differ in tiles"):
        _same(other, begun.unfinished)
    assert begun.unfinished.is_there()
    assert not other.unfinished.is_there()
    begun.write_all(range(begun.unfinished.count - 1), 1)
    with pytest.raises(ImageFileError, match="1 of 12 regions are missing"):
        publish(begun.unfinished)
    assert not job.target.exists()


def test_another_version_and_an_output_that_cannot_be_are_one_line(
    client, source, tmp_path, monkeypatch
):
    from napari_vdsr.batch import cluster

    (tmp_path / "out").write_text("no folder")
    (job,) = plan([str(source)], tmp_path / "elsewhere")
    job = replace(job, target=tmp_path / "out/a.ome.zarr")
    (result,) = run([job], SETTINGS, client=client)
    assert result.status == "failed"
    assert "the folder cannot be made" in result.reason
    monkeypatch.setattr(cluster, "__version__", "9.9")
    with pytest.raises(ClusterError, match=r"and here is 9\.9. Install one version"):
        cluster._check_versions(client)


def test_a_scheduler_and_processes_that_are_gone_are_one_line(source, tmp_path):
    from distributed.client import FutureCancelledError
    from distributed.comm import CommClosedError
    from distributed.scheduler import NoWorkerError

    from napari_vdsr.batch.cluster import _Batch

    (job,) = plan([str(source)], tmp_path / "out")
    batch = _Batch(None, "", SETTINGS, None)
    for error in (FutureCancelledError("key", "lost", "two\nlines"), CommClosedError("closed")):
        result = batch._failed(job, error)
        assert "the scheduler is gone. What is written stays" in result.reason
        assert "\n" not in result.reason
    assert "no process of the cluster was left" in batch._failed(job, NoWorkerError("", 9)).reason


def test_a_cluster_without_processes_is_waited_for_and_that_is_said_once(caplog):
    class Slow:
        calls = 0

        def wait_for_workers(self, number, timeout=None):
            self.calls += 1
            if timeout is not None:
                raise TimeoutError

    client = Slow()
    _wait_for_one(client, "tcp://here:8786")
    assert client.calls == 2
    (record,) = caplog.records
    assert "tcp://here:8786 has no processes that compute yet" in record.getMessage()


def test_what_is_no_scheduler_is_refused(monkeypatch):
    for text in ("local:0", "local:x", "somewhere", "local"):
        with pytest.raises(UsageError, match="tcp://HOST:PORT"), connected(text):
            pass
    monkeypatch.setattr("napari_vdsr.batch.cluster.ANSWER_SECONDS", 1)
    with pytest.raises(ClusterError, match="no scheduler answers"), connected("tcp://127.0.0.1:9"):
        pass


@pytest.mark.parametrize(
    ("device", "rank", "count", "chosen"),
    [
        ("auto", 5, 4, "cuda:1"),
        ("cuda", 3, 4, "cuda:3"),
        ("cuda:0", 3, 4, "cuda:0"),
        ("cpu", 3, 4, "cpu"),
        ("auto", 3, 1, "auto"),
        ("auto", 3, 0, "auto"),
    ],
)
def test_each_process_has_a_gpu_of_its_own(device, rank, count, chosen):
    assert device_of(device, rank, count) == chosen


@pytest.mark.parametrize(
    ("visible", "asked", "chosen", "workers"),
    [
        ("0,1,2,3", "auto", ["cuda:0", "cuda:1", "cuda:2", "cuda:3"], 4),
        ("4,7", "cuda", ["cuda:0", "cuda:1", "cuda:0", "cuda:1"], 4),
        ("5", "auto", ["auto"] * 4, 4),  # the one that this process is left
        ("", "auto", ["auto"] * 4, 1),
        ("0,1", "cpu", ["cpu"] * 4, 1),
        ("0,1", "cuda:1", ["cuda:1"] * 4, 4),
    ],
)
def test_processes_take_the_gpus_that_they_see(visible, asked, chosen, workers, monkeypatch):
    """Each reads and writes by several threads while its GPU computes."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(
        "torch.cuda.device_count",
        lambda: len([gpu for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if gpu]),
    )
    found = []
    for name in range(4):  # as LocalCluster names its processes
        carrier = Carrier(replace(SETTINGS, options=Options(device=asked), workers=4))
        state = SimpleNamespace(nthreads=torch.get_num_threads())
        carrier.setup(SimpleNamespace(name=name, state=state))
        assert carrier.settings.workers == workers
        found.append(carrier.settings.options.device)
    assert found == chosen
