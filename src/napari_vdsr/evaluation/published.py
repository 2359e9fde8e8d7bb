"""Figures that papers give, to stand beside measured ones.

Facts, each with the place where it was read (``published.csv``). They are luma PSNR and SSIM
by the protocol of ``napari_vdsr.evaluation.protocol``, with the authors' own weights.
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TABLE = Path(__file__).with_name("published.csv")
BASELINE = "bicubic"
# Rounding alone moves a mean that is given in hundredths of a dB by so much, and another
# image, another crop or another bicubic by more.
SAME_DB, SAME_SSIM = 0.02, 0.001


class Paper(NamedTuple):
    """A network as its paper has it: architecture, settings, and DOI."""

    architecture: str
    settings: Mapping[str, Any]
    doi: str


PAPERS = {
    "bicubic": Paper("bicubic", {}, ""),
    "SRCNN": Paper(
        "srcnn", {"kernels": [9, 5, 5], "widths": [64, 32]}, "10.1109/TPAMI.2015.2439281"
    ),
    "FSRCNN": Paper(
        "fsrcnn", {"width": 56, "inner": 12, "depth": 4}, "10.1007/978-3-319-46475-6_25"
    ),
    "ESPCN": Paper("espcn", {"widths": [64, 32]}, "10.1109/CVPR.2016.207"),
    "VDSR": Paper("vdsr", {"depth": 20, "width": 64}, "10.1109/CVPR.2016.182"),
    "DRRN-B1U9": Paper("drrn", {"blocks": 1, "units": 9, "width": 128}, "10.1109/CVPR.2017.298"),
    "DRRN-B1U25": Paper("drrn", {"blocks": 1, "units": 25, "width": 128}, "10.1109/CVPR.2017.298"),
    "BTSRN": Paper(
        "btsrn", {"low": 6, "high": 4, "width": 128, "inner": 32}, "10.1109/CVPRW.2017.154"
    ),
    "SRResNet": Paper("srresnet", {"depth": 16, "width": 64}, "10.1109/CVPR.2017.19"),
    "SRGAN": Paper("srgan", {"depth": 16, "width": 64}, "10.1109/CVPR.2017.19"),
    "EDSR-baseline": Paper(
        "edsr", {"depth": 16, "width": 64, "strength": 1.0}, "10.1109/CVPRW.2017.151"
    ),
    "EDSR": Paper("edsr", {"depth": 32, "width": 256, "strength": 0.1}, "10.1109/CVPRW.2017.151"),
}  # fmt: skip


@dataclass(frozen=True)
class Published:
    """A figure of a paper.

    Attributes
    ----------
    network : str
        As its authors call it.
    psnr : float
        In dB.
    ssim : float or None
        None where none was read.
    read_in : str
        Where.
    doi : str
        Of the network's paper; empty for bicubic.
    """

    network: str
    psnr: float
    ssim: float | None
    read_in: str
    doi: str


class TestSet(NamedTuple):
    """One of the usual test sets: its names, images, and their (rows, columns) if known."""

    names: tuple[str, ...]
    images: int
    shapes: Mapping[tuple[int, int], int] | None


SETS = {
    "Set5": TestSet(
        ("set5",), 5, Counter([(512, 512), (288, 288), (256, 256), (280, 280), (344, 228)])
    ),
    "Set14": TestSet(
        ("set14",),
        14,
        Counter(
            [
                (480, 500), (576, 720), (512, 512), (288, 352), (361, 250), (276, 276), (362, 500),
                (288, 352), (512, 512), (512, 512), (512, 768), (512, 512), (656, 529), (391, 586),
            ]
        ),
    ),
    "B100": TestSet(("b100", "bsd100", "bsds100"), 100, None),
    "Urban100": TestSet(("urban100",), 100, None),
}  # fmt: skip
BSD_SHAPES = {(321, 481), (481, 321)}


def usual_set(name: str, shapes: Sequence[tuple[int, ...]]) -> str | None:
    """Name of the usual test set that a folder may be; None if it is none of them.

    Parameters
    ----------
    name : str
        Of the folder.
    shapes : sequence of (int, int)
        Rows and columns of its images, as they are in the files.
    """
    for known, one in SETS.items():
        if name.casefold() not in one.names or len(shapes) != one.images:
            continue
        if one.shapes is not None and Counter(shapes) != one.shapes:
            continue
        if known == "B100" and not BSD_SHAPES.issuperset(shapes):
            continue
        return known
    return None


def is_confirmed(dataset: str, scale: int, psnr: float, ssim: float) -> bool:
    """Whether bicubic reads on images what it reads on the set of this name in the papers.

    Other images of these sizes, or another protocol, give other figures.
    """
    baseline = figure(BASELINE, dataset, scale)
    return (
        baseline is not None
        and abs(psnr - baseline.psnr) <= SAME_DB
        and (baseline.ssim is None or abs(ssim - baseline.ssim) <= SAME_SSIM)
    )


def paper_of(architecture: str, settings: Mapping[str, Any]) -> str | None:
    """Name of the network of a paper that has these settings; None if there is none."""
    for name, paper in PAPERS.items():
        if paper.architecture == architecture and all(
            settings.get(key) == value for key, value in paper.settings.items()
        ):
            return name
    return None


def figure(network: str, dataset: str, scale: int) -> Published | None:
    """Return a network's figure on a usual test set; None if none was read."""
    return _table().get((network, dataset, scale))


@cache
def _table() -> dict[tuple[str, str, int], Published]:
    with TABLE.open(newline="", encoding="utf-8") as file:
        return {
            (row["network"], row["dataset"], int(row["scale"])): Published(
                row["network"],
                float(row["psnr_db"]),
                float(row["ssim"]) if row["ssim"] else None,
                row["read_in"],
                PAPERS[row["network"]].doi,
            )
            for row in csv.DictReader(file)
        }
