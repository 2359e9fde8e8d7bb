"""What became of the files, and the report of it."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from napari_vdsr import __version__
from napari_vdsr.atomic import write_whole
from napari_vdsr.errors import WriteError, unforeseen
from napari_vdsr.showing import shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_vdsr.advice import Advised
    from napari_vdsr.batch.settings import Settings

REST = 20  # between two writings of a report, times as long as one takes


@dataclass
class Result:
    """What became of one file.

    Attributes
    ----------
    status : str
        "done", "already done", "skipped", "failed", or "planned" in a dry run.
    reason : str
        One line; empty where all is said.
    notes : list of str
        How what the file left open was read, and what of it the output does not hold.
    series : int or None
        Number of the image that was asked for; None for the main one.
    files : list of str
        Every file that it was read from.
    products : dict of str to str
        Outputs beside the target, by what they hold.
    regions, bytes, expected : int, int, float
        In a dry run: regions that are computed one by one, bytes of the result's pixels, and
        about how many seconds one process computes.
    """

    source: str
    target: str
    status: str = "failed"
    reason: str = ""
    notes: list[str] = field(default_factory=list)
    shape: list[int] = field(default_factory=list)
    axes: str = ""
    output_shape: list[int] = field(default_factory=list)
    dtype: str = ""
    seconds: float = 0.0
    series: int | None = None
    files: list[str] = field(default_factory=list)
    products: dict[str, str] = field(default_factory=dict)
    regions: int = 0
    bytes: int = 0
    expected: float = 0.0


def one_line(error: Exception, source: Path) -> Advised:
    """Error as one line that names the file."""
    told = unforeseen(error).on_one_line()
    return told if shown(source.name) in told else told.of(shown(source))


class Report:
    """The JSON report of a batch, rewritten as the batch goes on.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    total : int
        Files of the batch.
    settings : Settings
        Of the batch.
    parameters : mapping, optional
        What decides the pixels, if another process computes.

    Attributes
    ----------
    failure : WriteError or None
        What kept the report from being written last.
    """

    def __init__(
        self,
        path: Path,
        total: int,
        settings: Settings,
        parameters: dict[str, Any] | None = None,
    ) -> None:
        self._path, self._total, self._settings = path, total, settings
        self._parameters = settings.parameters() if parameters is None else parameters
        self._due = 0.0
        self.failure: WriteError | None = None

    def update(self, results: Sequence[Result]) -> None:
        """Write it, unless it was written just now: it grows with every file."""
        started = time.monotonic()
        if started >= self._due:
            self.write(results)
            took = time.monotonic() - started
            self._due = started + took * (1 + REST)

    def write(self, results: Sequence[Result]) -> None:
        """Write it, whole or not at all; what prevents it is kept in `failure`."""
        counts: dict[str, int] = defaultdict(int)
        for result in results:
            counts[result.status] += 1
        content = {
            "software": f"napari-vdsr {__version__}",
            "model": {
                "name": self._settings.model.name,
                "sha256": self._settings.executor.identity,
            },
            "parameters": self._parameters,
            "total": self._total,
            "counts": dict(counts),
            "files": [asdict(result) for result in results],
        }
        # Names that are no text hold surrogates, which UTF-8 has not but JSON's escapes have.
        text = json.dumps(content, indent=2, ensure_ascii=False)
        self.failure = None
        try:
            write_whole(self._path, text.encode("utf-8", "backslashreplace"))
        except WriteError as error:
            self.failure = error
