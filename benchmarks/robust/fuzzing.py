"""Damaged files, models and settings: an answer or one line, soon, and in little memory.

Each run damages one file of one kind, by bits or by structure, and reads it, pixels too. It
is done by children of this process, which die with a crash of a library and have no more
memory than allowed; how long one is at a run is watched. A fault is told with the kind and
the number of the run, which makes the same damage again (``--only KIND --first NUMBER
--runs 1``).
"""

from __future__ import annotations

import io
import json
import mmap
import os
import platform
import random
import resource
import shutil
import signal
import struct
import sys
import time
from pathlib import Path

import dask
import numpy as np
import tifffile
from PIL import Image as Picture

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

SLOWEST = 20.0  # seconds of processor time
MOST = 2**31  # bytes
SMALL = 2**26  # of images whose pixels are read
LONGEST = 1000
OF_A_CHILD = 500
METADATA = ("zarr.json", ".zattrs", ".zarray", ".zgroup")


def add_arguments(parser):
    parser.add_argument("--runs", type=int, default=100_000, help="of all kinds together")
    parser.add_argument("--first", type=int, default=0, help="number of the first of each kind")
    parser.add_argument("--only", nargs="+", help="these kinds alone")


def run(folder, arguments):
    runs = 300 if arguments.short else arguments.runs
    dask.config.set(scheduler="synchronous")  # threads of this process are none of its children's
    kinds = {**readers(folder), **others(folder)}
    if arguments.only:
        kinds = {name: kinds[name] for name in arguments.only}
    each = -(-runs // len(kinds))
    rows, faults = [], []
    for name, attempt in kinds.items():
        kind = Kind(name, attempt, folder / "bad")
        began = time.monotonic()
        for first in range(arguments.first, arguments.first + each, OF_A_CHILD):
            last = min(first + OF_A_CHILD, arguments.first + each)
            kind.tried(range(first, last), arguments.seed)
        faults += kind.faults
        rows.append(
            f"| {name} | {each:,} | {kind.read:,} | {kind.slowest:.1f} s "
            f"| {kind.largest / 2**20:,.0f} MiB | {len(kind.faults) or 'none'} |"
        )
        print(rows[-1], f"({time.monotonic() - began:.0f} s)", flush=True)
        for fault in kind.faults:
            print("  ", fault, flush=True)
    return markdown(rows, each * len(kinds)), faults


class Kind:
    """Runs of one kind, by children."""

    def __init__(self, name, attempt, place):
        self.name, self.attempt, self.place = name, attempt, place
        self.faults, self.read, self.slowest, self.largest = [], 0, 0.0, 0
        self.shared = mmap.mmap(-1, 32)  # number of the run, how many were read, slowest

    def tried(self, numbers, seed):
        todo = list(numbers)
        while todo:
            self.shared[:32] = struct.pack("qqdq", todo[0], 0, 0.0, 0)
            last = self.child(todo, seed)
            _, read, slowest, largest = struct.unpack("qqdq", self.shared[:32])
            self.read, self.slowest = self.read + read, max(self.slowest, slowest)
            self.largest = max(self.largest, largest)
            todo = [] if last is None else [number for number in todo if number > last]

    def child(self, numbers, seed):
        """Have a child do some runs; the number of the one that it died of, or None."""
        read_end, write_end = os.pipe()
        child = os.fork()
        if not child:
            os.close(read_end)
            code = 71
            try:
                self.work(numbers, seed, write_end)
                code = 0
            finally:
                os._exit(code)
        os.close(write_end)
        died = self.watched(child)
        with open(read_end, encoding="utf-8", errors="replace") as told:
            self.faults += [f"{self.name} {line}" for line in told.read().splitlines()]
        if died is None:
            return None
        number = struct.unpack("q", self.shared[:8])[0]
        self.faults.append(f"{self.name} {number}: {died}")
        return number

    def watched(self, child):
        """Wait for a child; how it died, or None."""
        number, spent = None, 0.0
        while True:
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                code = os.waitstatus_to_exitcode(status)
                return None if code == 0 else f"the process ended with {code}"
            now = struct.unpack("q", self.shared[:8])[0]
            ticks = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:13]
            total = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
            if now != number:
                number, spent, since = now, total, time.monotonic()
            elif total - spent > SLOWEST or time.monotonic() - since > 15 * SLOWEST:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return f"hangs: {total - spent:.0f} s of processor time"
            time.sleep(0.02)

    def work(self, numbers, seed, told):
        """Do runs, in a child."""
        sys.unraisablehook = lambda given: os.abort()
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        os.dup2(devnull, 2)
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MOST, now + MOST))
        before, read, slowest = peak(), 0, 0.0
        for number in numbers:
            self.shared[:32] = struct.pack("qqdq", number, read, slowest, peak() - before)
            began = time.process_time()
            fault = self.once(random.Random(f"{self.name} {seed} {number}"))
            slowest = max(slowest, time.process_time() - began)
            read += fault is None
            if fault:
                os.write(told, f"{number}: {fault}\n".encode("utf-8", "replace")[:2000])
        self.shared[:32] = struct.pack("qqdq", number, read, slowest, peak() - before)

    def once(self, rng):
        """Do one run; None if it gave an answer, "" if a line, else what is wrong."""
        from napari_vdsr.errors import VdsrError
        from napari_vdsr.showing import shown

        try:
            self.attempt(rng, self.place)
        except VdsrError as error:
            text = str(error)
            if "does not fit into memory" in text:
                return f"over {MOST / 2**30:.0f} GiB: {text}"
            bad = shown(text) != text or len(text) > LONGEST
            return f"a message of {len(text)} characters: {text!r:.500}" if bad else ""
        except (Exception, SystemExit) as error:
            return f"{type(error).__name__}: {error!s:.500}".replace("\n", " ")
        return None


def peak():
    """Bytes that this process took at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def readers(folder):
    """What reads a damaged image, by the kind of its file."""
    import fuzz

    from napari_vdsr.io import list_series, read_image

    def look(path):
        image = read_image(path)
        assert all(map(str, image.notes)) or not image.notes
        if image.data.nbytes < SMALL:
            np.asarray(image.data)
        list_series(path)

    def of_bytes(content, suffix):
        whole = folder / f"whole{suffix}"
        whole.write_bytes(content)
        look(whole)  # which imports what it takes, for all children

        def attempt(rng, place):
            path = place.with_suffix(suffix)
            data = fuzz.flipped(content, rng)
            path.write_bytes(tagged(content, rng) if tagged and rng.random() < 0.5 else data)
            look(path)

        tagged = odd_tags if suffix == ".tif" else None
        return attempt

    def of_folder(good):
        files = [path.relative_to(good) for path in sorted(good.rglob("*")) if path.is_file()]
        described = [path for path in files if path.name in METADATA]

        def attempt(rng, place):
            bad = place.with_suffix(".zarr")
            shutil.rmtree(bad, ignore_errors=True)
            shutil.copytree(good, bad)
            file = rng.choice(described if rng.random() < 0.7 else files)
            data = (good / file).read_bytes()
            if file in described and rng.random() < 0.8:
                text = fuzz.as_json(fuzz.changed(json.loads(data), rng), rng)
                (bad / file).write_bytes(text.encode("utf-8", "surrogatepass"))
            else:
                (bad / file).write_bytes(fuzz.flipped(data, rng))
            look(bad)

        return attempt

    made = {name: of_bytes(content, suffix) for name, (content, suffix) in files(folder).items()}
    for version in ("0.4", "0.5"):
        made[f"OME-Zarr {version}"] = of_folder(zarr_folder(folder, version))
    return made


ODD_NUMBERS = (0, 1, 2, 3, 7, 8, 255, 256, 65535, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def odd_tags(content, rng):
    """Bytes of a TIFF with odd numbers in an entry of its first directory, or in others."""
    data = bytearray(content)
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack(order + "H", data[2:4])[0] == 43
    try:
        at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
        number = struct.unpack_from(order + ("Q" if big else "H"), data, at)[0]
        first, size = at + (8 if big else 2), 20 if big else 12
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            entry = first + size * rng.randrange(number)
            odd = rng.choice(ODD_NUMBERS)
            match rng.randrange(5):
                case 0:
                    struct.pack_into(order + "H", data, entry, odd % 2**16)
                case 1:
                    struct.pack_into(order + "H", data, entry + 2, rng.randrange(20))
                case 2:
                    struct.pack_into(order + ("Q" if big else "I"), data, entry + 4, odd)
                case 3:
                    place = entry + (12 if big else 8)
                    struct.pack_into(order + ("Q" if big else "I"), data, place, odd)
                case 4:
                    place = entry + (12 if big else 8)
                    struct.pack_into(order + "H", data, place, odd % 2**16)
    except struct.error:
        pass
    return bytes(data)


def files(folder):
    """Small whole files of every kind: content and suffix."""
    random = np.random.default_rng(0)
    grey = random.integers(0, 4000, (40, 60)).astype("u2")
    stack = random.integers(0, 255, (2, 3, 40, 60)).astype("u1")
    color = random.integers(0, 255, (40, 60, 3)).astype("u1")
    made = {}

    def tif(name, pixels, *, writer=None, **options):
        buffer = io.BytesIO()
        with tifffile.TiffWriter(buffer, **(writer or {})) as out:
            out.write(pixels, **options)
        made[f"TIFF, {name}"] = buffer.getvalue(), ".tif"

    tif("plain", grey, photometric="minisblack")
    tif("big, tiled", grey, writer={"bigtiff": True}, tile=(16, 16))
    tif("big-endian, strips", grey, writer={"byteorder": ">"}, rowsperstrip=7)
    for name in ("zlib", "lzw", "zstd", "packbits", "lzma"):
        predictor = {"predictor": True} if name in ("zlib", "lzw", "zstd") else {}
        tif(name, grey, compression=name, rowsperstrip=16, **predictor)
    for name in ("jpeg", "jpeg2000", "jpegxl", "webp", "png"):
        tif(name, color, compression=name, tile=(16, 16))
    tif("palette", grey.astype("u1"), photometric="palette",
        colormap=random.integers(0, 65535, (3, 256)).astype("u2"))  # fmt: skip
    tif("colours apart", np.moveaxis(color, -1, 0), photometric="rgb", planarconfig="separate")
    tif("float", grey.astype("f4"), compression="zlib", predictor=3)
    tif("ImageJ", stack, writer={"imagej": True}, metadata={"axes": "ZCYX", "spacing": 2.0,
        "unit": "um", "Labels": list("abcdef")}, resolution=(2, 2))  # fmt: skip
    tif("OME", stack, writer={"ome": True}, metadata={"axes": "ZCYX", "PhysicalSizeX": 0.5,
        "Channel": {"Name": ["a", "b", "c"]}}, photometric="minisblack")  # fmt: skip
    tif("shaped", stack, photometric="minisblack", metadata={"axes": "ZCYX"})
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, ome=True) as out:
        out.write(grey, subifds=1, tile=(16, 16), metadata={"axes": "YX"})
        out.write(grey[::2, ::2], subfiletype=1, tile=(16, 16))
    made["TIFF, pyramid"] = buffer.getvalue(), ".tif"

    for name, pixels, suffix in (
        ("PNG", color, ".png"), ("PNG", grey, ".png"), ("JPEG", color, ".jpg"),
        ("BMP", color, ".bmp"), ("GIF", stack[0, 0], ".gif"), ("WebP", color, ".webp"),
        ("PPM", color, ".ppm"), ("PPM", stack[0, 0], ".pgm"), ("JPEG2000", color, ".jp2"),
    ):  # fmt: skip
        buffer = io.BytesIO()
        Picture.fromarray(pixels).save(buffer, name)
        made[suffix[1:] + (", 16 bit" if pixels is grey else "")] = buffer.getvalue(), suffix
    made["pfm"] = b"Pf\n60 40\n-1.0\n" + grey.astype("<f4").tobytes(), ".pfm"
    header = b"P7\nWIDTH 60\nHEIGHT 40\nDEPTH 1\nMAXVAL 65535\nTUPLTYPE GRAYSCALE\nENDHDR\n"
    made["pam"] = header + grey.astype(">u2").tobytes(), ".pam"
    made.update(microscopes(folder, grey, stack))
    return made


def microscopes(folder, grey, stack):
    """Files of microscopes' makers, and of medicine."""
    import microscopes as tiffs
    import nibabel
    import vendor_files
    from pydicom.data import get_testdata_file

    made, path = {}, folder / "made"
    for name, write, pixels, suffix in (
        ("lsm", tiffs.lsm, stack[0], ".lsm"), ("stk", tiffs.stk, grey[None], ".stk"),
        ("fluoview", tiffs.fluoview, stack[0].astype("u2"), ".tif"),
    ):  # fmt: skip
        write(path, pixels)
        made[name] = path.read_bytes(), suffix
    planes = np.stack([grey, grey])
    for packed in (False, True):
        vendor_files.nd2(path, planes, "TYX", packed=packed)
        made["nd2, packed" if packed else "nd2"] = path.read_bytes(), ".nd2"
    vendor_files.lif(path, {"one": (planes, "CYX", {}), "two": (grey, "YX", {})})
    made["lif"] = path.read_bytes(), ".lif"
    for suffix in (".nii", ".nii.gz"):
        whole = folder / f"made{suffix}"
        nibabel.save(nibabel.Nifti1Image(planes.astype("i2"), np.eye(4)), whole)
        made[suffix[1:]] = whole.read_bytes(), suffix
    for name in ("CT_small.dcm", "MR_small_RLE.dcm", "SC_rgb_jpeg_dcmtk.dcm", "JPEG2000.dcm"):
        made[name] = Path(get_testdata_file(name, download=False)).read_bytes(), ".dcm"
    made["czi"] = czi(folder / "made.czi", grey), ".czi"
    return made


def czi(path, pixels):
    from pylibCZIrw import czi as library

    with library.create_czi(str(path), compression_options="zstd0:") as out:
        for number in range(2):
            out.write(pixels[..., None], plane={"T": 0, "Z": 0, "C": number}, location=(0, 0))
        out.write_metadata("a", channel_names={0: "a", 1: "b"}, scale_x=1e-7, scale_y=1e-7)
    return path.read_bytes()


def zarr_folder(folder, version):
    """An OME-Zarr with two channels."""
    from napari_vdsr.image import Channel, Image
    from napari_vdsr.io.zarr.form import ZarrForm
    from napari_vdsr.io.zarr.write import create_zarr

    path = folder / f"good-{version}.zarr"
    path.mkdir()
    channels = (Channel(name="a", color=255, contrast=(0, 9)), Channel(name="b"))
    pixels = np.arange(2 * 12 * 18, dtype="u2").reshape(2, 12, 18)
    image = Image(data=pixels, axes="CYX", pixel_size={"Y": 1, "X": 1}, channels=channels)
    create_zarr(path, image, {"model": "a"}, "a", ZarrForm(version)).arrays[0][...] = pixels
    return path


def others(folder):
    """What reads damaged model files and settings."""
    import fuzz

    return {"model": model(folder, fuzz), "settings": settings(fuzz)}


def model(folder, fuzz):
    import torch

    from napari_vdsr.model.card import CARD_KEY, ModelCard, default_scale, read_card
    from napari_vdsr.model.file import load_model, save_model
    from napari_vdsr.networks import VDSR

    good = folder / "good.safetensors"
    card = ModelCard(name="tiny", architecture="vdsr", scales=(2.0, 3.0), training={"steps": 3})
    save_model(good, VDSR(depth=3, width=4), card)
    torch.set_num_threads(1)

    def attempt(rng, place):
        path = place.with_suffix(".safetensors")
        path.write_bytes(fuzz.damaged_tensors(good, CARD_KEY, rng))
        default_scale(read_card(path))
        load_model(path)

    return attempt


def settings(fuzz):
    from napari_vdsr.training.config import TrainConfig, load_config
    from napari_vdsr.training.plan import read_plan

    good = {**TrainConfig().to_dict(), "minutes": 0.5}
    own = {"images": ["a", "b"], "output": "run", "name": "mine", "preset": "fast"}

    def attempt(rng, place):
        path, whole = place.with_suffix(".toml"), rng.random() < 0.5
        values = good | (own if whole else {})
        values = fuzz.changed(values, rng) if rng.random() < 0.7 else values
        text = fuzz.as_toml(values if isinstance(values, dict) else {"x": values}, rng)
        data = text.encode("utf-8", "surrogatepass")
        path.write_bytes(fuzz.flipped(data, rng) if rng.random() < 0.3 else data)
        (read_plan if whole else load_config)(path)

    return attempt


def markdown(rows, runs):
    """Section for the results."""
    lines = [
        f"## {runs:,} damaged files: {platform.machine()}, {os.cpu_count()} cores",
        "",
        "| kind | runs | of them read | slowest, of processor time | most memory | faults |",
        "|---|---|---|---|---|---|",
        *rows,
    ]
    return "\n".join(lines) + "\n"
