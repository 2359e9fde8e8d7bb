"""Batches in processes of their own, which outlive the window that began them.

Each has a folder among the user's state: its command, the events that it tells, what it
printed, and its report. So any window finds it again.
"""

import contextlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import platformdirs
import psutil

from napari_vdsr.atomic import write_whole
from napari_vdsr.errors import VdsrError, WriteError

RUN, EVENTS, PRINTED, REPORT, SEEN = (
    "run.json",
    "events.jsonl",
    "printed.txt",
    "report.json",
    "seen",
)
STOP = f"{EVENTS}.stop"
KEPT = 20  # folders of batches that have ended
LOOKED_AT = 600.0  # seconds, in which a window that asked for a dry run reads what came of it
STARTS_WITHIN = 60.0  # seconds, before a process that nobody has heard of is given up
READ = 2**20  # bytes of events at a time: the window waits
LAST = 2**16  # in which the last event is
DETACHED_PROCESS, NEW_GROUP = 0x00000008, 0x00000200  # on Windows; elsewhere unknown by name
BY_ANOTHER = "another run is at it"
SAFE = re.compile(r"[\w@+=:,./\\-]+")


class Phase(Enum):
    """Where a batch is."""

    RUNNING = "running"
    ENDED = "ended"
    KILLED = "killed"
    ELSEWHERE = "on another computer"


@dataclass
class BatchRun:
    """A batch, by its folder.

    Attributes
    ----------
    folder : pathlib.Path
        Of what is known of it.
    words : list of str
        What follows ``vdsr upscale``.
    cwd : str
        Folder that it runs in.
    fields : dict
        How the form was filled in.
    started, seen_at : float
        When it was begun, and when its process was last known to be there.
    pid : int or None
        Of its process.
    host : str
        Computer that it runs on.
    dry_run : bool
        Whether it only tells what would be done.
    report : str
        Path of its report; that in its folder, unless the words name another.
    """

    folder: Path
    words: list[str]
    cwd: str
    fields: dict[str, Any] = field(default_factory=dict)
    started: float = 0.0
    seen_at: float = 0.0
    pid: int | None = None
    host: str = ""
    dry_run: bool = False
    report: str = ""

    def __post_init__(self) -> None:
        self.report = os.path.join(self.cwd, self.report or self.folder / REPORT)

    @property
    def title(self) -> str:
        """For a list: when it began, and where its results go."""
        when = time.strftime("%d %b %H:%M:%S", time.localtime(self.started))
        return f"{when}  {Path(self.fields.get('output') or self.cwd).name}"

    def keep(self) -> None:
        """Write down what is known of it.

        Raises
        ------
        WriteError
            If that cannot be written.
        """
        content = {k: v for k, v in asdict(self).items() if k != "folder"}
        write_whole(self.folder / RUN, json.dumps(content, indent=1).encode("ascii"))

    def phase(self, ended: bool = False) -> Phase:
        """Where it is now.

        Parameters
        ----------
        ended : bool
            Whether its events say that it has ended.
        """
        child = None if self.pid is None else _children.get(self.pid)
        gone = child is not None and child.poll() is not None  # or a zombie would stay
        if ended:
            return Phase.ENDED
        if self.host != platform.node():
            return Phase.ELSEWHERE
        if self.pid is None:
            early = time.time() - self.started < STARTS_WITHIN
            return Phase.RUNNING if early else Phase.KILLED
        if child is not None:
            return Phase.KILLED if gone else Phase.RUNNING
        return Phase.RUNNING if _lives(self.pid, self.seen_at) else Phase.KILLED

    def stop(self) -> None:
        """Have it end as by Ctrl-C: what is done is kept."""
        with contextlib.suppress(OSError):
            (self.folder / STOP).touch()

    def kill(self) -> None:
        """End its process at once; outputs are whole or not there all the same."""
        if self.pid is not None and self.host == platform.node():
            with contextlib.suppress(psutil.Error):
                if _lives(self.pid, self.seen_at):
                    psutil.Process(self.pid).kill()

    def printed(self) -> str:
        """Last line that it printed: why it ended, if its events do not say."""
        try:
            text = (self.folder / PRINTED).read_text("utf-8", errors="replace")
        except OSError:
            return ""
        lines = [line for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else ""

    @property
    def seen(self) -> bool:
        """Whether somebody was shown its end."""
        return (self.folder / SEEN).exists()

    def mark_seen(self) -> None:
        """Its end was shown."""
        with contextlib.suppress(OSError):
            (self.folder / SEEN).touch()


_children: dict[int, "subprocess.Popen[bytes]"] = {}


def here() -> str:
    """Folder that napari was started in; that of the user's, where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return str(Path.home())


def runs_folder() -> Path:
    """Folder of all batches that were begun in a window; it may not exist."""
    return Path(platformdirs.user_state_path("napari-vdsr", appauthor=False)) / "batches"


def begin(
    words: Sequence[str],
    fields: dict[str, Any] | None = None,
    *,
    dry_run: bool = False,
    report: str | None = None,
) -> BatchRun:
    """Run ``vdsr upscale`` in a process of its own, which goes on when this one ends.

    Parameters
    ----------
    words : sequence of str
        What follows ``vdsr upscale``.
    fields : dict, optional
        How the form was filled in, in terms of JSON.
    dry_run : bool
        Only have told what would be done.
    report : str, optional
        Path that the words name for the report.

    Raises
    ------
    WriteError
        If what is known of it cannot be kept.
    VdsrError
        If no process can be started.
    """
    prune()
    run = BatchRun(
        folder=_new_folder(), words=list(words), cwd=here(), fields=fields or {},
        started=time.time(), seen_at=time.time(), host=platform.node(), dry_run=dry_run,
        report=report or "",
    )  # fmt: skip
    run.keep()
    # Before the words, in which the user may name a report of their own.
    own = ["--events", str(run.folder / EVENTS), "--report", str(run.folder / REPORT)]
    command = [sys.executable, "-P", "-m", "napari_vdsr", "upscale", *own]
    command += ["--dry-run"] * dry_run
    try:
        with (run.folder / PRINTED).open("wb") as printed:
            process = subprocess.Popen(
                [*command, *run.words], cwd=run.cwd, stdin=subprocess.DEVNULL, stdout=printed,
                stderr=subprocess.STDOUT, **apart(),
            )  # fmt: skip
    except (OSError, ValueError) as error:
        shutil.rmtree(run.folder, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise VdsrError(f"The batch could not be started ({str(reason).lower()}).") from error
    _children[process.pid] = process
    run.pid, run.seen_at = process.pid, time.time()
    run.keep()
    return run


def apart(system: str = sys.platform) -> dict[str, Any]:
    """How a process is started that does not end with this one, nor with its terminal."""
    if system == "win32":
        return {"creationflags": DETACHED_PROCESS | NEW_GROUP}
    return {"start_new_session": True}


def found() -> list[BatchRun]:
    """Batches that are known, the newest first; dry runs are not among them."""
    return [run for run in _all() if not run.dry_run]


def has_ended(run: BatchRun) -> bool:
    """Whether its events say that it has ended."""
    try:
        with (run.folder / EVENTS).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - LAST))
            lines = file.read().splitlines()
    except OSError:
        return False
    return bool(lines) and _event(lines[-1]).get("event") == "ended"


def prune() -> None:
    """Remove the folders of old batches that run no more."""
    ended = 0
    for run in _all():
        if run.phase(has_ended(run)) in (Phase.RUNNING, Phase.ELSEWHERE):
            continue
        ended += not run.dry_run
        old = time.time() - run.started > LOOKED_AT
        if (run.dry_run and old) or ended > KEPT:
            shutil.rmtree(run.folder, ignore_errors=True)


def shell_command(
    words: Sequence[str], folder: str | None = None, system: str = sys.platform
) -> str:
    """Line for a terminal that does the same.

    Parameters
    ----------
    words : sequence of str
        What follows ``vdsr upscale``.
    folder : str, optional
        Folder to run it in, if that matters.
    system : str
        As ``sys.platform`` names it; on Windows the line is for ``cmd``.
    """
    quote = _quoted_for_windows if system == "win32" else _quoted
    line = " ".join(map(quote, [*_program(), "upscale", *words]))
    if folder is None:
        return line
    return f"{'cd /d' if system == 'win32' else 'cd'} {quote(folder)} && {line}"


def _program() -> list[str]:
    """Words that call ``vdsr`` in any terminal."""
    script = shutil.which("vdsr")
    ours = Path(sys.executable).parent
    if script is not None and Path(script).parent in (ours, ours / "Scripts"):
        return ["vdsr"]
    return [sys.executable, "-P", "-m", "napari_vdsr"]


def _quoted(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    # What no clipboard holds, and what would look like another line.
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\x{byte:02x}"
        for byte in os.fsencode(word)
    )
    return f"$'{escaped}'"


def _quoted_for_windows(word: str) -> str:
    if SAFE.fullmatch(word):
        return word
    quoted = subprocess.list2cmdline([word])
    if quoted.startswith('"'):
        return quoted
    trailing = len(word) - len(word.rstrip("\\"))
    return f'"{quoted}{chr(92) * trailing}"'


class Reading:
    """The events of a batch, as far as they were read.

    Parameters
    ----------
    run : BatchRun
        The batch.

    Attributes
    ----------
    rows : list of dict
        Of each file: ``source``, ``target``, ``status``, and what its result tells.
    end : dict or None
        The last event.
    started : bool
        Whether the process has told anything.
    through : int
        Files that it is through with.
    waits : bool
        Whether nothing is left to do but what another run is at.
    counts : dict of str to int
        Of those, how many have which status.
    """

    def __init__(self, run: BatchRun) -> None:
        self._path = run.folder / EVENTS
        self._offset = 0
        self._current = -1
        self.rows: list[dict[str, Any]] = []
        self.end: dict[str, Any] | None = None
        self.started = False
        self.through = 0
        self.counts: dict[str, int] = {}
        self._seconds = 0.0

    def read(self) -> tuple[bool, set[int], bool]:
        """Read on.

        Returns
        -------
        anew : bool
            Whether the list of files has come.
        changed : set of int
            Numbers of files of which something is new.
        more : bool
            Whether there is more to be read at once.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                block = file.read(READ)
                if b"\n" not in block and len(block) == READ:  # a very long list of files
                    block += file.readline()
        except OSError:
            return False, set(), False
        whole = block[: block.rfind(b"\n") + 1]
        self._offset += len(whole)
        rows = self.rows
        changed: set[int] = set()
        for line in whole.splitlines():
            changed |= self._take(_event(line))
        return self.rows is not rows, changed, len(block) >= READ

    def _take(self, event: dict[str, Any]) -> set[int]:
        kind, number = event.get("event"), event.get("number", -1)
        self.started = True
        if kind == "planned":
            self.rows = [{**file, "status": "waiting"} for file in event["files"]]
        elif kind == "ended":
            self.end = event
        elif not 0 <= number < len(self.rows):
            return set()
        elif kind == "progress":
            self._current = number
            share = event["done"] / max(event["of"], 1)
            self.rows[number] |= {"status": "at work", "share": share}
            return {number}
        elif kind == "waiting":
            self._current = number
            self.rows[number]["status"] = BY_ANOTHER
            return {number}
        elif kind == "result":
            self.rows[number] |= {k: v for k, v in event.items() if k not in ("event", "number")}
            self._count(event)
            return {number}
        return set()

    def _count(self, result: dict[str, Any]) -> None:
        status = str(result.get("status"))
        self.through += 1
        self.counts[status] = self.counts.get(status, 0) + 1
        if status == "done":
            self._seconds += result.get("seconds", 0.0)

    @property
    def waits(self) -> bool:
        return self._current >= 0 and self.rows[self._current]["status"] == BY_ANOTHER

    def seconds_left(self) -> float | None:
        """Seconds until all is done, as far as those that were done tell; None before."""
        worked = self.counts.get("done", 0)
        if not worked:
            return None
        now = self.rows[self._current] if 0 <= self._current < len(self.rows) else {}
        share = now.get("share", 0.0) if now.get("status") == "at work" else 0.0
        return max(len(self.rows) - self.through - share, 0.0) * self._seconds / worked


def _event(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _all() -> list[BatchRun]:
    try:
        folders = sorted(runs_folder().iterdir(), reverse=True)
    except OSError:
        return []
    return [run for run in map(_known, folders) if run is not None]


def _known(folder: Path) -> BatchRun | None:
    """The batch of a folder; None if what is there is none."""
    try:
        content = json.loads((folder / RUN).read_text("ascii"))
        run = BatchRun(folder=folder, **content)
        fits = all(isinstance(word, str) for word in run.words) and isinstance(run.fields, dict)
        return run if fits and isinstance(run.started, int | float) else None
    except (OSError, ValueError, TypeError):
        return None


def _new_folder() -> Path:
    folder = runs_folder()
    name = time.strftime("%Y%m%d-%H%M%S")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1000):
            with contextlib.suppress(FileExistsError):
                made = folder / f"{name}-{number:03}"
                made.mkdir()
                return made
        raise FileExistsError(17, "too many in one second")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WriteError(
            f"{folder}: what is known of a batch cannot be kept there ({reason})."
        ) from error


def _lives(pid: int, seen_at: float) -> bool:
    """Whether a process that was there at a time is still there, and no later one of its number."""
    try:
        process = psutil.Process(pid)
        if process.create_time() > seen_at + 1:
            return False
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # it is not ours to ask
        return True
