"""`kill -9` at random moments and before every change of a folder; then the same command again.

For each format: while a command runs, nothing but a whole result is ever seen under its name;
after the kill and the same command again, all files are byte-identical to those of a run that
was not disturbed, nothing else is left lying, and the input is what it was.
"""

from __future__ import annotations

import os
import platform
import random
import shutil
import time
from dataclasses import dataclass

import children
import numpy as np
import tifffile
from PIL import Image as Picture

TILE = 256


@dataclass(frozen=True)
class Form:
    """A kind of output: its input, and the commands that make it, one after the other."""

    source: str
    words: tuple[str, ...]
    parts: int = 0

    def commands(self, folder, out):
        base = ["upscale", str(folder / "in" / self.source), "-o", str(out), "-m", "bicubic"]
        base += ["--tile", str(TILE), *self.words]
        if not self.parts:
            return [base]
        cut = [[*base, "--part", f"{k}/{self.parts}"] for k in range(1, self.parts + 1)]
        return [*cut, ["finish", str(out)]]


FORMS = {
    "raw TIFF": Form("a.tif", ("--format", "tiff")),
    "compressed TIFF": Form("a.tif", ("--format", "tiff", "--compression", "zlib")),
    "ImageJ TIFF": Form("a.tif", ("--format", "imagej")),
    "OME-TIFF": Form("a.tif", ("--format", "ome-tiff")),
    "OME-TIFF pyramid": Form("a.tif", ("--format", "ome-tiff", "--pyramid")),
    "OME-Zarr": Form("a.tif", ("--format", "ome-zarr")),
    "OME-Zarr 0.4": Form("a.tif", ("--format", "ome-zarr", "--zarr-version", "0.4")),
    "PNG": Form("c.png", ("--format", "png")),
    "JPEG": Form("c.png", ("--format", "jpeg")),
    "WebP": Form("c.png", ("--format", "webp")),
    "three products": Form("a.tif", ("--also", "residual,consistency,spread")),
    "folder of files": Form("many", ("--format", "tiff")),
    "OME-Zarr in parts": Form("a.tif", ("--format", "ome-zarr"), 3),
    "files in parts": Form("many", ("--format", "tiff"), 2),
}
SHORT = ("compressed TIFF", "OME-Zarr", "OME-Zarr in parts")


def add_arguments(parser):
    parser.add_argument("--kills", type=int, default=20, help="at random moments, of each format")
    parser.add_argument("--steps", type=int, default=40, help="at most, before changes")
    parser.add_argument("--only", nargs="+", choices=FORMS, help="these formats alone")


def run(folder, arguments):
    kills, steps = (2, 4) if arguments.short else (arguments.kills, arguments.steps)
    make(folder / "in", (150, 200) if arguments.short else (300, 400))
    names = arguments.only or (SHORT if arguments.short else FORMS)
    for name in names:
        children.warm(FORMS[name].commands(folder, folder / "warm"))
        shutil.rmtree(folder / "warm")
    rows, faults = [], []
    for name in names:
        for replaced in (False, True):
            if replaced and (FORMS[name].parts or arguments.short):
                continue
            case = Case(folder, name, replaced, random.Random(arguments.seed))
            row = case.tried(kills, steps)
            rows.append(row)
            faults += case.faults
            print(row, flush=True)
    return markdown(rows), faults


def make(folder, size):
    """Write the inputs."""
    random = np.random.default_rng(0)
    (folder / "many").mkdir(parents=True)
    pixels = random.integers(0, 4000, (2, *size)).astype("u2")
    tifffile.imwrite(folder / "a.tif", pixels, imagej=True, metadata={"axes": "ZYX"})
    colors = random.integers(0, 256, (*size, 3)).astype("u1")
    Picture.fromarray(colors).save(folder / "c.png")
    for number in range(4):
        tifffile.imwrite(folder / "many" / f"{number}.tif", pixels[0, :99, :80] + number)


class Case:
    """A format, whose output is new or replaces another one."""

    def __init__(self, folder, name, replaced, chance):
        self.folder, self.name, self.chance = folder, name, chance
        self.form, self.replaced = FORMS[name], replaced
        self.out, self.faults = folder / "out", []
        self.commands = self.form.commands(folder, self.out)
        if replaced:
            self.commands = [[*words, "--if-exists", "overwrite"] for words in self.commands]
        self.source = children.tree(folder / "in")
        self.begin()
        self.old = children.tree(self.out) if self.out.is_dir() else {}
        began = time.monotonic()
        for words in self.commands:
            self.complete(words)
        self.seconds = time.monotonic() - began
        self.whole = children.tree(self.out)
        self.names = {name.partition("/")[0] for name in self.whole}

    def begin(self):
        """Remove what there is; write what is to be replaced."""
        shutil.rmtree(self.out, ignore_errors=True)
        if self.replaced:
            self.complete([*self.form.commands(self.folder, self.out)[0], "--scale", "1.5"])

    def complete(self, words):
        code, told = children.command(words, self.folder)
        if code:
            self.faults.append(f"{self.name}: exit code {code} of {words}: {told}")

    def tried(self, kills, steps):
        """Kill it at random moments, then before changes; a row of what was seen."""
        if self.faults:
            return f"| {self.label} | {self.faults[0]} |"
        before = len(self.faults)
        died = 0
        for _ in range(4 * kills):  # it may be through before its moment comes
            died += died < kills and self.by_time()
        total = self.count()
        chosen = range(total) if total <= steps else sorted(self.chance.sample(range(total), steps))
        died_at = sum(self.by_step(number) for number in chosen)
        bad = len(self.faults) - before
        return f"| {self.label} | {died} of {kills} | {died_at} of {total} | {bad or 'none'} |"

    @property
    def label(self):
        return f"{self.name}{', replacing another' if self.replaced else ''}"

    def by_time(self):
        """Kill it at a random moment; False if it was through by then."""
        self.begin()
        until = time.monotonic() + self.chance.uniform(0, self.seconds)
        for words in self.commands:
            child = children.started(words, self.folder / "log")
            if children.ended(child, until - time.monotonic()) is None:
                died = children.killed(child) < 0
                self.check("at a random moment")
                return died
        self.check("too late")
        return False

    def count(self):
        """How many changes of folders it makes."""
        self.begin()
        changes = children.Changes()
        for words in self.commands:
            children.command(words, self.folder, lambda: changes.kill_at(-1))
        return changes.count

    def by_step(self, number):
        """Kill it before a change; False if it did not make so many."""
        self.begin()
        changes = children.Changes()
        for words in self.commands:
            child = children.started(words, self.folder / "log", lambda: changes.kill_at(number))
            if children.ended(child) != 0:
                self.check(f"before change {number}")
                return True
        return False

    def look(self):
        """See whether what lies under a name is whole."""
        found = children.tree(self.out) if self.out.is_dir() else {}
        for name in {each.partition("/")[0] for each in found} & self.names:
            there = {k: v for k, v in found.items() if k.partition("/")[0] == name}
            if not self.is_whole(name, there):
                self.faults.append(f"{self.label}: half of {name} is seen: {sorted(there)[:9]}")

    def is_whole(self, name, there):
        for known in (self.whole, self.old):
            own = {k: v for k, v in known.items() if k.split("/")[0] == name}
            if own == there:
                return True
        return False

    def check(self, when):
        """Give the same commands again, and hold what there is against what shall be."""
        self.look()
        left = [name for name in children.tree(self.out) if name.startswith(".")]
        for words in self.commands:
            self.complete(words)
        found = children.tree(self.out) if self.out.is_dir() else {}
        if found != self.whole:
            odd = sorted(
                k for k in {**found, **self.whole} if found.get(k, 0) != self.whole.get(k, 0)
            )
            self.faults.append(
                f"{self.label}, killed {when}: other {odd[:5]}; lay there: {left[:5]}"
            )
        if children.tree(self.folder / "in") != self.source:
            self.faults.append(f"{self.label}, killed {when}: the input changed")


def markdown(rows):
    """Section for the results."""
    lines = [
        f"## Killed and called again: {platform.machine()}, {os.cpu_count()} cores, bicubic",
        "",
        "| format | killed at random moments | before changes of folders | not as undisturbed |",
        "|---|---|---|---|",
        *rows,
    ]
    return "\n".join(lines) + "\n"
