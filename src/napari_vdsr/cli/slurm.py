"""``vdsr slurm``: a script by which Slurm makes the parts of an image, or of many files."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_vdsr.cli import options
from napari_vdsr.cli.parsing import parsed
from napari_vdsr.errors import UsageError

SCRIPT = """\
#!/bin/bash
#SBATCH --job-name=vdsr
#SBATCH --array=1-{parts}
#SBATCH --cpus-per-task={cpus}
#SBATCH --mem={memory}
#SBATCH --time={time}
#SBATCH --output=vdsr-%A-%a.log
{more}
# Submit this file, and what makes whole images of the parts when all are done:
#   job=$(sbatch --parsable vdsr.sh)
#   sbatch --dependency=afterok:$job --cpus-per-task={cpus} --wrap {finish}
# Parts that failed or ran out of time, which go on where they stopped: sbatch --array=7,12 vdsr.sh
set -euo pipefail
cd {folder}
export OMP_NUM_THREADS=${{SLURM_CPUS_PER_TASK:-{cpus}}}
exec {command} --part "$SLURM_ARRAY_TASK_ID/{parts}"
"""


def command(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(metavar="-- INPUT... -o FOLDER ...", help="As after vdsr upscale."),
    ],
    parts: Annotated[int, typer.Option(min=1, help="Tasks of the job array.")] = 10,
    cpus: Annotated[int, typer.Option(min=1, help="Cores of each task.")] = 4,
    memory: Annotated[str, typer.Option(help="Of each task, as Slurm writes it.")] = "8G",
    time: Annotated[str, typer.Option(help="Longest time of a task.")] = "4:00:00",
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of each task.")] = 0,
    partition: Annotated[str | None, typer.Option(help="Slurm's partition.")] = None,
) -> None:
    """Print a job-array script for vdsr upscale, for Slurm's sbatch.

    Each task makes one part; none waits for another, and any can be repeated.

    Example: vdsr slurm --parts 40 --gpus 1 -- big.ome.zarr -o out/ > vdsr.sh
    """
    given = words[1:] if words[0] == "upscale" else words
    vdsr: Any = context.parent
    asked = parsed(vdsr.command.commands["upscale"], given, vdsr)
    if asked.get("part") is not None:
        raise UsageError("--part is what the script sets; leave it out.")
    for name, parse in (("scale", options.parse_scale), ("max_memory", options.parse_bytes)):
        if asked.get(name):
            parse(asked[name])
    output = asked["output"]
    more = [f"#SBATCH --gpus-per-task={gpus}"] * (gpus > 0)
    more += [f"#SBATCH --partition={partition}"] * (partition is not None)
    program = str(Path(sys.executable).with_name("vdsr"))
    script = SCRIPT.format(
        parts=parts,
        cpus=cpus,
        memory=memory,
        time=time,
        more="\n".join(more),
        finish=shlex.quote(shlex.join([program, "finish", str(Path(output).absolute())])),
        folder=shlex.quote(str(Path.cwd())),
        command=shlex.join([program, "upscale", *given]),
    )
    typer.echo(script.replace("\n\n", "\n"), nl=False)
