"""What became of the files, and the report of it."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from napari_vdsr import __version__
from napari_vdsr.advice import Advised, Remedy
from napari_vdsr.errors import VdsrError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_vdsr.batch.settings import Settings


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


def one_line(error: Exception, source: Path) -> Advised:
    """Error as one line that names the file."""
    if isinstance(error, VdsrError):
        told = error.told
    else:
        told = Advised(f"{type(error).__name__}: {error}", Remedy.DEBUG)
    told = told.on_one_line()
    return told if source.name in told else told.of(source)


def write_report(
    path: Path, results: Sequence[Result], total: int, settings: Settings
) -> OSError | None:
    """Write the JSON report, whole or not at all; return what prevented it."""
    counts: dict[str, int] = defaultdict(int)
    for result in results:
        counts[result.status] += 1
    content = {
        "software": f"napari-vdsr {__version__}",
        "model": {"name": settings.model.name, "sha256": settings.model.card.sha256},
        "parameters": settings.parameters(),
        "total": total,
        "counts": dict(counts),
        "files": [asdict(result) for result in results],
    }
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        return error
    return None
