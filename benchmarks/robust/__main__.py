"""Nothing is lost: what goes wrong around a run, and what is left then.

One command for each; ``--short`` takes some seconds:

    python benchmarks/robust kill      # kill -9 at random moments, and before every file operation
    python benchmarks/robust disturb   # disk full, read-only, inputs that change, two at once
    python benchmarks/robust calls     # 1,000 calls in one process: memory, threads, handles
    python benchmarks/robust fuzz      # 100,000 damaged files, models and settings
    python benchmarks/robust memory    # what --max-memory allows, and what is taken

Each ends with exit code 1 if anything was not as it shall be. A batch of files of which some
are damaged is ``many_files.py``.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "RESULTS.md"
COMMANDS = ("kill", "disturb", "calls", "fuzz", "memory")


def main():
    parser = argparse.ArgumentParser(
        prog="robust", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True)
    for name in COMMANDS:
        module = importlib.import_module(name + "ing" if name == "fuzz" else name)
        own = commands.add_parser(name, description=module.__doc__)
        own.add_argument("--short", action="store_true", help="little of it, in some seconds")
        own.add_argument("--seed", type=int, default=0, help="of all that is random")
        own.add_argument("--save", action="store_true", help=f"append to {RESULTS.name}")
        module.add_arguments(own)
        own.set_defaults(run=module.run)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vdsr-robust-") as folder:
        text, faults = arguments.run(Path(folder), arguments)
    print(text)
    if arguments.save and not faults:
        with RESULTS.open("a") as file:
            file.write("\n" + text)
    for fault in faults:
        print("FAULT:", fault)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
