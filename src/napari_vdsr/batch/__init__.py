"""Many files: plan, run, resume, report.

An output carries the hash of its input and of the parameters in its own metadata, and
appears whole or not at all. That is the completion record: a batch that was cut off is
finished by the same command, and a file made from other pixels or with other parameters
is never taken for done.
"""

from napari_vdsr.batch.finding import Remark, summarised
from napari_vdsr.batch.finishing import finish
from napari_vdsr.batch.parts import Part
from napari_vdsr.batch.planning import Job, Plan, plan
from napari_vdsr.batch.result import Result
from napari_vdsr.batch.roster import Roster, find_rosters
from napari_vdsr.batch.running import OnProgress, run
from napari_vdsr.batch.settings import IF_EXISTS, Settings
from napari_vdsr.io.unfinished import find_all as find_unfinished

__all__ = [
    "IF_EXISTS",
    "Job",
    "OnProgress",
    "Part",
    "Plan",
    "Remark",
    "Result",
    "Roster",
    "Settings",
    "find_rosters",
    "find_unfinished",
    "finish",
    "plan",
    "run",
    "summarised",
]
