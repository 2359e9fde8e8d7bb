"""A batch on several processes, here or on many machines, by dask.distributed.

The processes read, compute and write; what travels is numbers of regions, names of files
and, once to each process, the settings with the network. Every region is written by the
process that computed it, as in `napari_vdsr.batch.work`, so that one that is killed costs
the regions it was at.
"""

from __future__ import annotations

import logging
import os
import re
import time
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import torch

from napari_vdsr import __version__
from napari_vdsr.advice import Advised, Remedy
from napari_vdsr.atomic import claimed
from napari_vdsr.batch import running
from napari_vdsr.batch.budget import held
from napari_vdsr.batch.finishing import check_complete, publish
from napari_vdsr.batch.parts import LARGE_BYTES, described, form_of
from napari_vdsr.batch.record import completion_record
from napari_vdsr.batch.result import Result, one_line
from napari_vdsr.batch.work import Work, opened
from napari_vdsr.errors import ClusterError, MissingExtraError, UnfitTilesError, UsageError
from napari_vdsr.io.unfinished import ZARR, differing
from napari_vdsr.io.zarr.folder import is_zarr

try:
    import dask
    import distributed
    from distributed import Client, LocalCluster, WorkerPlugin, as_completed, get_worker
    from distributed.comm import CommClosedError
    from distributed.scheduler import NoValidWorkerError, NoWorkerError
except ImportError as error:
    raise MissingExtraError(
        "several processes need dask.distributed, which is not installed. Install "
        "napari-vdsr[cluster]."
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from distributed import Future

    from napari_vdsr.batch.planning import Job
    from napari_vdsr.batch.running import OnProgress
    from napari_vdsr.batch.settings import Settings
    from napari_vdsr.io.unfinished import Unfinished
    from napari_vdsr.io.zarr.level import Level

logger = logging.getLogger(__name__)

# Regions and files are handed out so that each thread gets about so many tasks.
TASKS_PER_THREAD = 8
MOST_FILES, MOST_BYTES = 32, 2**26  # of one task
# How often regions are made that are not on disk as they were written.
ROUNDS = 3
ANSWER_SECONDS = 30
# Without a process that computes, until it is said what is waited for.
SILENT_SECONDS = 5
# Of processes here. One that is killed takes as long to come back as its imports take, which on a
# busy machine or a slow disk is minutes; distributed gives its place up after 15 s, and tasks
# would wait for ever once all places are.
OWN = {
    "distributed.deploy.lost-worker-timeout": "1 day",
    "distributed.scheduler.no-workers-timeout": "10 minutes",
}
RANKS = ("SLURM_LOCALID", "LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")


@contextmanager
def connected(scheduler: str) -> Iterator[Client]:
    """Connect to a cluster, or start one on this machine as long as the block runs.

    Parameters
    ----------
    scheduler : str
        ``"tcp://HOST:PORT"`` of any dask.distributed cluster, or ``"local:N"`` for N
        processes here, which share its cores.

    Raises
    ------
    UsageError
        If it is neither.
    ClusterError
        If nothing answers there, or its processes have another version of this package.
    """
    # What goes wrong is told once, by the errors of a batch.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        local = re.fullmatch(r"local:(\d+)", scheduler)
        if local and int(local[1]) > 0:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
            threads = max(1, (cores or os.cpu_count() or 1) // int(local[1]))
            stack.enter_context(dask.config.set(OWN))
            cluster = LocalCluster(
                n_workers=int(local[1]),
                threads_per_worker=1,
                # Without one, its server still asks for port 8787, and warns if that is taken.
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                memory_limit=0,
                silence_logs=logging.CRITICAL,
                env={"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"},
            )
            address: Any = stack.enter_context(cluster)
        elif "://" in scheduler:
            address = scheduler
        else:
            raise UsageError(
                f"scheduler {scheduler!r} is not understood; name one as tcp://HOST:PORT, or "
                "local:N for N processes on this machine."
            )
        try:
            client = Client(address, set_as_default=False, timeout=ANSWER_SECONDS)
        except (OSError, ValueError, TimeoutError) as error:
            raise ClusterError(
                f"no scheduler answers at {scheduler}. Start one there, or check the address."
            ) from error
        stack.enter_context(client)
        _wait_for_one(client, scheduler)
        _check_versions(client)
        yield client


def _wait_for_one(client: Client, scheduler: str) -> None:
    """Wait for a process that computes; after some seconds say what for, once."""
    try:
        client.wait_for_workers(1, timeout=SILENT_SECONDS)
    except TimeoutError:
        logger.warning(
            "the scheduler at %s has no processes that compute yet; waiting for the first. Start "
            "some there (dask worker %s), or end this by Ctrl-C.",
            scheduler,
            scheduler,
        )
        client.wait_for_workers(1)


def _check_versions(client: Client) -> None:
    try:
        found = client.run(_version)
    except Exception as error:
        raise ClusterError(
            f"a process of the cluster cannot load napari-vdsr ({type(error).__name__}). Install "
            "it there, in this version."
        ) from error
    others = {version for version in found.values() if version != __version__}
    if others:
        raise ClusterError(
            f"the cluster has napari-vdsr {', '.join(sorted(others))}, and here is {__version__}. "
            "Install one version."
        )


def _version() -> str:
    return __version__


class Carrier(WorkerPlugin):  # type: ignore[misc]  # distributed is not typed here
    """What every process of a cluster needs, also one that joins later: the settings.

    Parameters
    ----------
    settings : Settings
        Of the batch.
    """

    def __init__(self, settings: Settings) -> None:
        self.name = f"vdsr-{uuid4().hex}"
        self._settings = settings

    def setup(self, worker: Any) -> None:
        """Choose the device of this process; its network is loaded when it is needed."""
        self._lock, self._held = Lock(), ExitStack()
        self._works: dict[Job, Work] = {}
        options = self._settings.options
        count = torch.cuda.device_count()
        device = device_of(options.device, _rank(worker.name), count)
        # A GPU computes while threads read and write; on the CPU they would share its cores.
        on_gpu = device.startswith("cuda") or (device == "auto" and count > 0)
        workers = self._settings.workers if on_gpu else 1
        options, memory = replace(options, device=device), self._settings.memory
        if memory is not None:  # tasks share it
            memory //= max(1, worker.state.nthreads)
        self.settings = replace(self._settings, options=options, workers=workers, memory=memory)
        self._held.enter_context(held(memory))
        if "OMP_NUM_THREADS" not in os.environ or worker.state.nthreads > 1:
            torch.set_num_threads(max(1, worker.state.nthreads))

    def teardown(self, worker: Any) -> None:
        """Keep as much as before again."""
        self._held.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "_settings": self._settings}

    def work(self, job: Job, record: dict[str, str] | None = None) -> Work:
        """Return the image of a job, opened once by each process."""
        with self._lock:
            if job not in self._works:
                self._works.clear()  # images come one after another
                image = self.settings.read(job)
                self._works[job] = opened(job, image, self.settings, record=record)
            return self._works[job]


def device_of(device: str, rank: int, count: int) -> str:
    """Device of a process: each has a GPU of its own, if there are several.

    Parameters
    ----------
    device : str
        As it was asked for; one with a number stays.
    rank : int
        Of the process among those of its machine.
    count : int
        GPUs that it sees; those of others are hidden by CUDA_VISIBLE_DEVICES.
    """
    return f"cuda:{rank % count}" if device in ("auto", "cuda") and count > 1 else device


def _rank(name: object) -> int:
    """Number of a process on its machine, as its name or a launcher says it."""
    numbered = re.fullmatch(r"(?:[^:]*-)?(\d+)", str(name))
    if numbered:
        return int(numbered[1])
    given = (os.environ.get(key, "") for key in RANKS)
    return next((int(rank) for rank in given if rank.isdecimal()), 0)


def _carrier(name: str) -> Carrier:
    found: Carrier = get_worker().plugins[name]
    return found


def results(
    jobs: Sequence[Job],
    settings: Settings,
    client: Client,
    on_progress: OnProgress | None = None,
) -> Iterator[Result]:
    """Upscale files by the processes of a cluster.

    Parameters
    ----------
    jobs, settings, on_progress
        As for ``napari_vdsr.batch.run``.
    client : distributed.Client
        Of the cluster, whose processes see the files under the same names.

    Yields
    ------
    Result
        For each job, in the order in which they are done.
    """
    carrier = Carrier(settings)
    client.register_plugin(carrier)
    try:
        batch = _Batch(client, carrier.name, settings, on_progress)
        small = [job for job in jobs if len(jobs) > 1 and not _is_large(job, settings)]
        chosen = set(map(id, small))
        yield from batch.files(small)
        for job in jobs:
            if id(job) not in chosen:
                yield batch.image(job)
    finally:
        with suppress(Exception):  # of a cluster that is gone, nothing else need be said
            client.unregister_worker_plugin(carrier.name)


def _is_large(job: Job, settings: Settings) -> bool:
    """Whether an image is worth being made by several processes, told without reading it."""
    zarr = settings.format == "ome-zarr" or job.target.name.lower().endswith(".zarr")
    raw = settings.compression is None and job.target.name.lower().endswith((".tif", ".tiff"))
    with suppress(OSError):
        large = is_zarr(job.source) or job.source.stat().st_size > LARGE_BYTES
        return large and (zarr or raw)
    return False


@dataclass(frozen=True)
class _Begun:
    """What a process found when it began an image.

    Attributes
    ----------
    result : Result
        What became of it, if there is nothing more to do.
    alone : str
        Why one process is to make it, if it is.
    unfinished : Unfinished or None
        Where it lies, if several are to.
    missing : tuple of int
        Regions to be made.
    record : dict or None
        The completion record.
    """

    result: Result
    alone: str = ""
    unfinished: Unfinished | None = None
    missing: tuple[int, ...] = ()
    record: dict[str, str] | None = None


def _begin(name: str, job: Job) -> _Begun:
    """Look at an image, and begin it: a task."""
    settings = _carrier(name).settings
    result = Result(str(job.source), str(job.target), series=settings.of(job))
    try:
        if job.refused:
            raise UsageError(job.refused)
        image = settings.read(job)
        running.describe_image(result, job, image, settings)
        form = form_of(job, image, settings)
        if job.products:
            return _Begun(result, alone=f"{' and '.join(job.products)} is made along with it")
        if not form.in_pieces:
            alone = f"{described(form)} is written in one piece"
            return _Begun(result, alone=Advised(alone, Remedy.IN_PIECES))
        running.make_place(job, settings)
        record = completion_record(job, image, settings)
        if not running.outputs_to_make(job, settings, record, result):
            return _Begun(result)
        try:
            work = _carrier(name).work(job, record)
        except UnfitTilesError:
            if form.kind == "ome-zarr":
                raise
            return _Begun(result, alone="its tiles do not fit the pieces of the file")
        result.notes = [*result.notes, *map(str, work.told)]
        missing = tuple(work.missing(range(work.unfinished.count)))
        return _Begun(result, "", work.unfinished, missing, record)
    except Exception as error:
        result.status, result.reason = "failed", one_line(error, job.source)
        return _Begun(result)


def _write(name: str, job: Job, begun: Unfinished, regions: Sequence[int]) -> int:
    """Compute and write regions: a task."""
    carrier = _carrier(name)
    _same(carrier.work(job), begun).write_each(regions, carrier.settings.workers)
    return len(regions)


def _same(work: Work, begun: Unfinished) -> Work:
    """Return the work of this process, if it is the one that another one began.

    Raises
    ------
    ClusterError
        Which names what is other here, as it is if one has a GPU and another one has none.
    """
    if work.unfinished.digest != begun.digest:
        other = differing(begun, work.unfinished.order["identity"]) or ["input or output"]
        work.give_up()
        raise ClusterError(
            f"{begun.target}: the processes of the cluster differ in {', '.join(other)}, and their "
            "pixels would. Take processes that are alike, or say which device and precision."
        )
    return work


def _missing(name: str, job: Job, regions: Sequence[int]) -> list[int]:
    """Return those of some regions that are not on disk as they were written: a task."""
    return _carrier(name).work(job).missing(regions)


def _make_places(level: Level, places: Sequence[tuple[slice, ...]]) -> int:
    """Make parts of a smaller copy: a task."""
    for place in places:
        level.make(place)
    return len(places)


def _run_files(name: str, jobs: Sequence[Job]) -> list[Result]:
    """Upscale files: a task."""
    settings = _carrier(name).settings
    found = []
    for job in jobs:
        waited = False
        while (result := running.run_one(job, settings, waited=waited)) is None:
            waited = True
            time.sleep(running.POLL_SECONDS)
        found.append(result)
    return found


@dataclass(frozen=True)
class _Batch:
    """A batch on its way through a cluster."""

    client: Client
    name: str
    settings: Settings
    on_progress: OnProgress | None

    def files(self, jobs: Sequence[Job]) -> Iterator[Result]:
        """Upscale files, each by one process, small ones several to a task."""
        groups = list(_grouped(jobs, max(1, len(jobs) // self._wanted_tasks())))
        by_key: dict[str, Sequence[Job]] = {}
        futures = []
        for group in groups:
            future = self._submit(_run_files, self.name, group)
            by_key[future.key] = group
            futures.append(future)
        for future in self._completed(futures):
            try:
                yield from future.result()
            except Exception as error:
                for job in by_key[future.key]:
                    yield self._failed(job, error)

    def image(self, job: Job) -> Result:
        """Upscale an image by all processes, if its format can be written so."""
        started = time.monotonic()
        result = Result(str(job.source), str(job.target), series=self.settings.of(job))
        try:
            running.make_place(job, self.settings)
            result = self._image(job)
        except Exception as error:
            result = self._failed(job, error)
        return replace(result, seconds=round(time.monotonic() - started, 3))

    def _image(self, job: Job) -> Result:
        with claimed(job.target) as mine:
            if not mine:  # by a run of no cluster: that one makes it
                return self._alone(job)
            begun: _Begun = self._submit(_begin, self.name, job).result()
            if begun.unfinished is not None:
                try:
                    self._regions(job, begun, begun.unfinished)
                    begun.result.status = self._publish(begun.unfinished, begun.record)
                except Exception as error:
                    reason = self._failed(job, error).reason
                    return replace(begun.result, status="failed", reason=reason)
        if not begun.alone:
            return begun.result
        result = self._alone(job)
        if result.status == "done":
            result.notes = [*result.notes, _by_one(begun.alone)]
        return result

    def _alone(self, job: Job) -> Result:
        """Have one process make an image."""
        results: list[Result] = self._submit(_run_files, self.name, [job]).result()
        return results[0]

    def _regions(self, job: Job, begun: _Begun, unfinished: Unfinished) -> None:
        """Have all regions made; those of a file that machines share are looked at again."""
        missing = list(begun.missing)
        for _ in range(ROUNDS):
            self._write(job, missing, unfinished)
            if unfinished.kind == ZARR or not missing:
                return
            found = [self._submit(_missing, self.name, job, p) for p in self._cut(missing)]
            missing = [region for regions in self._each(found) for region in regions]
        check_complete(unfinished, unfinished.pieces())

    def _write(self, job: Job, missing: Sequence[int], begun: Unfinished) -> None:
        count = begun.count
        done = count - len(missing)
        tasks = [self._submit(_write, self.name, job, begun, p) for p in self._cut(missing)]
        for number in self._each(tasks):
            done += number
            if self.on_progress is not None:
                self.on_progress(job, done, count)

    def _cut(self, work: Sequence[Any]) -> list[Sequence[Any]]:
        """Cut work into tasks."""
        size = max(1, len(work) // self._wanted_tasks())
        return [work[at : at + size] for at in range(0, len(work), size)]

    def _publish(self, unfinished: Unfinished, record: dict[str, str] | None) -> str:
        def make_level(level: Level) -> None:
            pieces = self._cut(list(level.places()))
            for _ in self._each([self._submit(_make_places, level, piece) for piece in pieces]):
                pass

        return publish(unfinished, record, make_level=make_level)

    def _each(self, futures: list[Future]) -> Iterator[Any]:
        """Yield what tasks give; when one fails, the others are not done any more."""
        try:
            for future in self._completed(futures):
                yield future.result()
        finally:
            with suppress(Exception):  # of a cluster that is gone
                self.client.cancel(futures)

    def _completed(self, futures: list[Future]) -> Iterator[Future]:
        # Of none, distributed would look for a client of its own.
        return iter(as_completed(futures, loop=self.client.loop) if futures else ())

    def _submit(self, task: Callable[..., Any], *arguments: Any) -> Future:
        # Keys of their own: what was done once may have to be done again.
        key = f"{task.__name__.strip('_')}-{uuid4().hex}"
        return self.client.submit(task, *arguments, key=key, pure=False)

    def _wanted_tasks(self) -> int:
        threads = int(sum(self.client.nthreads().values()))
        return max(1, threads) * TASKS_PER_THREAD

    def _failed(self, job: Job, error: Exception) -> Result:
        result = Result(str(job.source), str(job.target), series=self.settings.of(job))
        if isinstance(error, distributed.KilledWorker):
            error = ClusterError(
                f"{job.source}: the processes that were at it ended again and again. Give them "
                "more memory, or see their logs."
            )
        elif isinstance(error, NoWorkerError | NoValidWorkerError):
            error = ClusterError(
                f"{job.source}: no process of the cluster was left to make it, and none came back. "
                "What is written stays: see their logs, and repeat the command."
            )
        elif isinstance(error, CancelledError | CommClosedError):
            error = ClusterError(
                f"{job.source}: the scheduler is gone. What is written stays: start it again, and "
                "repeat the command."
            )
        result.reason = one_line(error, job.source)
        return result


def _by_one(reason: str) -> str:
    """Say that one process made an image, and what would have others help."""
    told = f"made by one process, since {getattr(reason, 'statement', reason)}"
    return Advised(told, getattr(reason, "remedy", None))


def _grouped(jobs: Sequence[Job], most: int) -> Iterator[list[Job]]:
    """Put small files together, so many or so many bytes at most."""
    group: list[Job] = []
    size = 0
    for job in jobs:
        own = 0
        with suppress(OSError):
            own = Path(job.source).stat().st_size
        if group and (len(group) >= min(most, MOST_FILES) or size + own > MOST_BYTES):
            yield group
            group, size = [], 0
        group.append(job)
        size += own
    if group:
        yield group


def parameters(settings: Settings, client: Client) -> dict[str, Any]:
    """What decides the pixels, as a process of the cluster finds it, for the report."""
    found: dict[str, Any] = client.submit(settings.parameters, pure=False).result()
    return found
