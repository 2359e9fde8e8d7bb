"""Figures of papers: what they are put beside, and what not."""

import csv

import pytest
import torch

from napari_vdsr.evaluation import published
from napari_vdsr.evaluation.published import (
    PAPERS,
    SETS,
    TABLE,
    figure,
    is_confirmed,
    paper_of,
    usual_set,
)
from napari_vdsr.networks import NETWORKS

SET5 = [(512, 512), (288, 288), (256, 256), (280, 280), (344, 228)]


def test_every_row_names_a_network_a_set_and_a_source():
    with TABLE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(published._table())
    for row in rows:
        assert row["network"] in PAPERS
        assert row["dataset"] in SETS
        assert row["read_in"]
        assert 20 < float(row["psnr_db"]) < 40


@pytest.mark.parametrize("name", PAPERS)
def test_papers_are_networks_that_there_are(name):
    paper = PAPERS[name]
    with torch.device("meta"):
        network = NETWORKS[paper.architecture](**paper.settings)
    assert paper_of(paper.architecture, network.hyperparameters) == name


def test_other_sizes_are_of_no_paper():
    assert paper_of("vdsr", {"depth": 8, "width": 64}) is None
    assert paper_of("lite", {"depth": 12, "width": 32}) is None


@pytest.mark.parametrize(
    ("name", "shapes", "found"),
    [
        ("Set5", SET5, "Set5"),
        ("set5", SET5[::-1], "Set5"),
        ("Set5", SET5[:4], None),
        ("Set5", [(504, 504), *SET5[1:]], None),
        ("others", SET5, None),
        ("BSDS100", [(321, 481)] * 60 + [(481, 321)] * 40, "B100"),
        ("B100", [(320, 480)] * 100, None),
        ("Urban100", [(600, 1024)] * 100, "Urban100"),
    ],
)
def test_sets_by_name_and_sizes(name, shapes, found):
    assert usual_set(name, shapes) == found


def test_set_is_confirmed_by_what_bicubic_reads():
    assert is_confirmed("Set5", 2, 33.661, 0.92988)
    assert not is_confirmed("Set5", 2, 33.69, 0.92988)
    assert not is_confirmed("Set5", 2, 33.661, 0.9350)
    assert not is_confirmed("Set5", 8, 24.4, 0.66)


def test_figures_of_the_papers():
    found = figure("VDSR", "Set5", 2)
    assert (found.psnr, found.ssim, found.doi) == (37.53, 0.9587, "10.1109/CVPR.2016.182")
    assert figure("BTSRN", "Set14", 4).ssim is None
    assert figure("VDSR", "Set5", 8) is None
