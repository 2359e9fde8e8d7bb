"""Which files the parts of a batch of many files shall make, so that missing ones are named."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_vdsr.advice import Advised, Remedy
from napari_vdsr.atomic import write_whole
from napari_vdsr.batch.result import Result
from napari_vdsr.schema import parse_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_vdsr.batch.parts import Part
    from napari_vdsr.batch.planning import Job

PREFIX, SUFFIX = ".vdsr-files-", ".json"


@dataclass(frozen=True)
class Roster:
    """The files of a batch that was cut into parts.

    Attributes
    ----------
    path : pathlib.Path
        Where the list lies.
    of : int
        How many parts.
    command : tuple of str
        Words of the command without the part.
    targets : tuple of (str, ...)
        Outputs of each job, in order, as seen from the list's folder.
    """

    path: Path
    of: int
    command: tuple[str, ...]
    targets: tuple[tuple[str, ...], ...]

    def check(self) -> Result:
        """Say whether all outputs are there; the list goes when they are."""
        folder = self.path.parent
        missing = [
            number
            for number, names in enumerate(self.targets)
            if not all((folder / name).exists() for name in names)
        ]
        result = Result(str(folder), str(folder))
        if not missing:
            self.path.unlink(missing_ok=True)
            result.status, result.reason = "done", f"all {len(self.targets)} files are there"
            return result
        parts = sorted({number % self.of + 1 for number in missing})
        shown = ", ".join(str(folder / self.targets[number][0]) for number in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        result.reason = Advised(
            f"{folder}: {len(missing)} of {len(self.targets)} files are missing, of part "
            f"{', '.join(map(str, parts))} of {self.of} ({shown}{more})",
            Remedy.MAKE_PART,
            command=shlex.join(self.command),
            part=parts[0],
            of=self.of,
        )
        return result


def keep(jobs: Sequence[Job], part: Part) -> None:
    """Write the list of a batch, unless another part has; without it nothing but this is lost."""
    targets = [[os.path.abspath(t) for t in job.outputs.values()] for job in jobs]
    folder = Path(os.path.commonpath([os.path.dirname(names[0]) for names in targets]))
    content = {
        "of": part.of,
        "command": list(part.command),
        "targets": [[os.path.relpath(name, folder) for name in names] for names in targets],
    }
    text = json.dumps(content)
    own = hashlib.sha256(json.dumps([content["of"], content["targets"]]).encode()).hexdigest()[:12]
    path = folder / f"{PREFIX}{own}{SUFFIX}"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())


def find_rosters(folder: Path) -> list[Roster]:
    """Return the lists in a folder and those below it."""
    found = []
    for where, folders, files in os.walk(folder):
        folders[:] = [n for n in folders if not n.startswith(".") and not n.endswith(".zarr")]
        for name in sorted(files):
            if name.startswith(PREFIX) and name.endswith(SUFFIX):
                path = Path(where, name)
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    content = parse_json(path.read_text("utf-8"))
                    targets = tuple(tuple(map(str, names)) for names in content["targets"])
                    command = tuple(map(str, content["command"]))
                    found.append(Roster(path, int(content["of"]), command, targets))
    return found
