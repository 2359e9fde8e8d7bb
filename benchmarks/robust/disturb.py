"""A full disk, a read-only folder, inputs that change, several processes at once, a dead owner.

Whatever happens, a result is whole or not there, a failure is one line that names the file,
nothing else is left lying, and the same command completes the work as soon as it can.
"""

from __future__ import annotations

import os
import platform
import random
import resource
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import children
import numpy as np
import tifffile
from PIL import Image as Picture

if TYPE_CHECKING:
    from collections.abc import Callable

NOBODY = 65534
ROOM = 400_000  # bytes
LOW, HIGH = 100, 3000
FORMS = {
    "TIFF": ("a.tif", "--format", "tiff"),
    "TIFF, zlib": ("a.tif", "--format", "tiff", "--compression", "zlib"),
    "ImageJ": ("a.tif", "--format", "imagej"),
    "OME-TIFF": ("a.tif", "--format", "ome-tiff"),
    "pyramid": ("a.tif", "--format", "ome-tiff", "--pyramid"),
    "OME-Zarr": ("a.tif", "--format", "ome-zarr"),
    "PNG": ("c.png", "--format", "png"),
    "JPEG": ("c.png", "--format", "jpeg", "--quality", "100"),
    "WebP": ("c.png", "--format", "webp"),
    "products": ("a.tif", "--also", "residual"),
}


def add_arguments(parser):
    parser.add_argument("--times", type=int, default=20, help="of what comes at random moments")


def run(folder, arguments):
    folder.chmod(0o755)
    make(folder / "in")
    planes, files = (6, 4) if arguments.short else (40, 24)
    site = Site(folder, random.Random(arguments.seed), planes, files)
    forms = ["TIFF, zlib", "OME-Zarr"] if arguments.short else list(FORMS)
    times = 1 if arguments.short else arguments.times
    for form in forms:
        children.warm([site.words(form, site.folder / "warm")])
        shutil.rmtree(site.folder / "warm")
    rows, faults = [], []
    for scene in (full_disk, full_file, read_only, changing, together, at_odds, dead_owner):
        site.faults.clear()
        what, number = scene(site, forms, times)
        rows.append(f"| {what} | {number} | {len(site.faults) or 'none'} |")
        print(rows[-1], flush=True)
        faults += site.faults
    return markdown(rows), faults


def make(folder):
    random = np.random.default_rng(0)
    folder.mkdir()
    pixels = random.integers(0, 60_000, (2, 400, 500)).astype("u2")
    tifffile.imwrite(folder / "a.tif", pixels, imagej=True, metadata={"axes": "ZYX"})
    colors = random.integers(0, 256, (500, 600, 3)).astype("u1")
    Picture.fromarray(colors).save(folder / "c.png")


class Site:
    """Where commands run, and what was not as it shall be."""

    def __init__(self, folder, chance, planes, files):
        self.folder, self.chance, self.faults = folder, chance, []
        self.log = folder / "log"
        self.planes = planes  # of an input that changes while it is read
        self.files = files  # of a folder that several processes upscale

    def words(self, form, out, *more):
        name, *options = FORMS[form]
        words = ["upscale", str(self.folder / "in" / name), "-o", str(out), "-m", "bicubic"]
        return [*words, "--tile", "256", *options, *more]

    def new(self, name):
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path

    def refused(self, what, words, said, prepare=None, out=None):
        """Run a command that has to fail in one line, and leave nothing."""
        code, told = children.command(words, self.folder, prepare)
        failed = [line for line in told.splitlines() if line.startswith(("failed: ", "error: "))]
        fits = code in (1, 2) and len(failed) == 1 and any(each in failed[0] for each in said)
        if not fits or "Traceback" in told:
            self.faults.append(f"{what}: exit code {code}: {told!r}")
        if out is not None and (left := children.tree(out)):
            self.faults.append(f"{what}: left {sorted(left)[:5]}")

    def completed(self, what, words):
        code, told = children.command(words, self.folder)
        if code:
            self.faults.append(f"{what}: exit code {code}: {told!r}")


def full_disk(site, forms, times):
    """A file system that is too small; needs the right to mount one."""
    disk = site.folder / "disk"
    disk.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        return "disk full (not tried: no right to mount one)", 0
    try:
        for form in forms:
            out = disk / "out"
            words = site.words(form, out)
            out.mkdir()
            site.refused(f"full, {form}", words, ("no space left", "are free there"), out=out)
            shutil.rmtree(out)
            # Room that goes while it is written.
            big = site.folder / "many"
            make_many(big, 6)
            words = ["upscale", str(big), "-o", str(out), "-m", "bicubic", *FORMS[form][1:]]
            code, told = children.command(words, site.folder)
            done = told.count("done: ")
            if code != 1 or done + told.count("failed: ") != 6 or "Traceback" in told:
                site.faults.append(f"filled, {form}: exit code {code}: {told!r}")
            hidden = [name for name in children.tree(out) if "/." in f"/{name}"]
            hidden = [name for name in hidden if not name.endswith((".zgroup", ".zattrs"))]
            if hidden:
                site.faults.append(f"filled, {form}: left {hidden[:5]}")
            shutil.rmtree(out)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    return "disk full, of each format, before and while it is written", 2 * len(forms)


def make_many(folder, number):
    if folder.is_dir():
        return
    folder.mkdir()
    random = np.random.default_rng(1)
    for each in range(number):
        colors = random.integers(0, 256, (150, 200)).astype("u1")
        Picture.fromarray(colors).save(folder / f"{each}.png")


def full_file(site, forms, times):
    """Files that may not grow further, which the system says at some write."""
    for form in forms:
        out = site.new("out")
        limit = resource.RLIMIT_FSIZE, (100_000, 100_000)
        words = site.words(form, out)
        said = ("cannot be written", "file too large")
        site.refused(f"limit, {form}", words, said, lambda: resource.setrlimit(*limit), out)  # noqa: B023
        site.completed(f"limit, {form}", words)
    return "no room at some write, of each format; then with room", len(forms)


def read_only(site, forms, times):
    """An output folder in which this user may not write."""

    def leave_root():
        if os.geteuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)

    for form in forms:
        out = site.new("out")
        out.chmod(0o555)
        said = ("permission denied",)
        site.log.unlink(missing_ok=True)
        site.refused(f"read-only, {form}", site.words(form, out), said, leave_root, out)
        inner = out / "inner"
        site.refused(f"read-only, {form}", site.words(form, inner), said, leave_root, out)
        out.chmod(0o755)
        site.completed(f"read-only, {form}", site.words(form, out))
    return "read-only folder, of each format; then with the right", 2 * len(forms)


CHANGES: dict[str, Callable[..., object]] = {}


def change(function):
    CHANGES[function.__name__.replace("_", " ")] = function
    return function


@change
def vanishes(path, other):
    path.unlink()


@change
def is_replaced(path, other):
    shutil.copy(other, path.with_name("new"))
    path.with_name("new").replace(path)


@change
def is_replaced_with_times_kept(path, other):
    times = path.stat()
    shutil.copy(other, path.with_name("new"))
    os.utime(path.with_name("new"), ns=(times.st_atime_ns, times.st_mtime_ns))
    path.with_name("new").replace(path)


@change
def is_written_over(path, other):
    with path.open("r+b") as file:
        file.write(other.read_bytes())


@change
def is_cut(path, other):
    os.truncate(path, path.stat().st_size // 2)


@change
def becomes_a_folder(path, other):
    path.unlink()
    path.mkdir()


def changing(site, forms, times):
    """Change an input at a random moment: the result is of the one, of the other, or none."""
    place = site.new("changing")
    path, other = place / "a.tif", site.folder / "other.tif"
    shape = (site.planes, 128, 128)
    tifffile.imwrite(other, np.full(shape, HIGH, "u2"), photometric="minisblack")
    number = 0
    for form in ("TIFF, zlib", "OME-Zarr"):
        out = site.folder / "out"
        words = ["upscale", str(path), "-o", str(out), "-m", "bicubic", *FORMS[form][1:]]
        words += ["--tile", "128", "--workers", "1"]
        spent = None
        for kind, happen in CHANGES.items():
            for _ in range(times):
                for each in (place, out):
                    shutil.rmtree(each, ignore_errors=True)
                place.mkdir()
                tifffile.imwrite(path, np.full(shape, LOW, "u2"), photometric="minisblack")
                if spent is None:
                    began = time.monotonic()
                    site.completed("undisturbed", words)
                    spent = time.monotonic() - began
                    shutil.rmtree(out)
                child = children.started(words, site.log)
                time.sleep(site.chance.uniform(0, spent))
                happen(path, other)
                code = children.ended(child)
                number += 1
                _judge(site, f"{form}: input {kind}", code, out)
    return "input changes or vanishes at a random moment", number


def _judge(site, what, code, out):
    from napari_vdsr.io import read_image

    told = site.log.read_text("utf-8", "replace")
    found = list(out.iterdir()) if out.is_dir() else []
    if code == 0 and len(found) == 1:
        values = np.unique(np.asarray(read_image(found[0]).data))
        if len(values) != 1:
            site.faults.append(f"{what}: done with pixels of both: {values}")
    elif code not in (1, 2) or "Traceback" in told or "a.tif" not in told:
        site.faults.append(f"{what}: exit code {code}: {told!r}")
    elif found:
        site.faults.append(f"{what}: failed, left {found}")


def _folder_of(site):
    folder, number = site.folder / "several", site.files
    if not folder.is_dir():
        folder.mkdir()
        for each in range(number):
            pixels = np.random.default_rng(each).integers(0, 4000, (40, 50)).astype("u2")
            tifffile.imwrite(folder / f"{each:03}.tif", pixels, photometric="minisblack")
    return folder, number


def together(site, forms, times):
    """Three processes with one command on one folder: each file is made once."""
    folder, number = _folder_of(site)
    tries = max(1, times // 4)
    for form in ("TIFF", "OME-Zarr"):
        base = ["upscale", str(folder), "-m", "bicubic", *FORMS[form][1:]]
        alone = site.new("alone")
        site.completed("alone", [*base, "-o", str(alone)])
        whole = children.tree(alone)
        for _ in range(tries):
            out = site.folder / "out"
            shutil.rmtree(out, ignore_errors=True)
            logs = [site.folder / f"log{each}" for each in range(3)]
            runs = [children.started([*base, "-o", str(out)], log) for log in logs]
            codes = [children.ended(run) for run in runs]
            told = [log.read_text("utf-8", "replace") for log in logs]
            done = sum(line.startswith("done: ") for text in told for line in text.splitlines())
            if codes != [0, 0, 0] or done != number:
                site.faults.append(f"together, {form}: {codes}, {done} of {number} done: {told}")
            if children.tree(out) != whole:
                site.faults.append(f"together, {form}: other files")
    return "three processes with one command on one folder", 2 * tries


def at_odds(site, forms, times):
    """Two processes with other scales on one folder: every result is whole, of one of them."""
    folder, number = _folder_of(site)
    tries = max(1, times // 4)
    for form in ("TIFF", "OME-Zarr"):
        base = ["upscale", str(folder), "-m", "bicubic", *FORMS[form][1:]]
        wholes = []
        for scale in ("2", "3"):
            site.completed("alone", [*base, "-o", str(site.new(scale)), "--scale", scale])
            wholes.append(children.tree(site.folder / scale))
        for _ in range(tries):
            out = site.folder / "out"
            shutil.rmtree(out, ignore_errors=True)
            logs = [site.folder / f"log{each}" for each in range(2)]
            runs = [
                children.started([*base, "-o", str(out), "--scale", scale], log)
                for scale, log in zip(("2", "3"), logs, strict=True)
            ]
            codes = [children.ended(run) for run in runs]
            told = [log.read_text("utf-8", "replace") for log in logs]
            found = children.tree(out)
            if not set(codes) <= {0, 1} or "Traceback" in "".join(told):
                site.faults.append(f"at odds, {form}: {codes}: {told}")
            for name in {each.partition("/")[0] for each in found}:
                own = {k: v for k, v in found.items() if k.partition("/")[0] == name}
                if not any(own == {k: w.get(k) for k in own} and own for w in wholes):
                    site.faults.append(f"at odds, {form}: {name} is of neither: {told}")
            if len({each.partition("/")[0] for each in found}) != number:
                site.faults.append(f"at odds, {form}: {len(found)} results")
    return "two processes with other scales on one folder", 2 * tries


def dead_owner(site, forms, times):
    """A process that has claimed an output and is killed, and one that is frozen for a while."""
    from napari_vdsr.atomic import claimed, whole_file, whole_folder

    def hold(target, folder):
        make = whole_folder(target, ours=Path.is_dir) if folder else whole_file(target)
        with claimed(target), make as temporary:
            (temporary / "half" if folder else temporary).write_text("half")
            os.kill(os.getpid(), 9)

    for form in forms:
        out = site.new("out")
        words = site.words(form, out)
        site.completed(f"dead owner, {form}", words)
        whole = children.tree(out)
        name = sorted(each.partition("/")[0] for each in whole)[0]
        out = site.new("out")
        child = os.fork()
        if not child:
            hold(out / name, name.endswith(".zarr"))
        os.waitpid(child, 0)
        if len(children.tree(out)) < 3:
            site.faults.append(f"dead owner, {form}: left no lock")
        began = time.monotonic()
        site.completed(f"dead owner, {form}", words)
        if time.monotonic() - began > 60 or children.tree(out) != whole:
            site.faults.append(f"dead owner, {form}: {sorted(children.tree(out))[:9]}")
    return "the owner of a lock is dead, of each format", len(forms)


def markdown(rows):
    """Section for the results."""
    lines = [
        f"## Disturbed: {platform.machine()}, {os.cpu_count()} cores, bicubic",
        "",
        "| what | times | not as it shall be |",
        "|---|---|---|",
        *rows,
    ]
    return "\n".join(lines) + "\n"
