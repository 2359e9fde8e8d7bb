"""What is told of a job, and how large its tiles are: without a window."""

import numpy as np
import pytest

from napari_vdsr import Image, ModelCard, load_model, save_model, upscale
from napari_vdsr.networks import ESPCN
from napari_vdsr.options import RESULT
from napari_vdsr.plugin import pace, steps, upscale_job
from napari_vdsr.plugin.pace import Pace
from napari_vdsr.plugin.request import Filled, Opened, Request
from napari_vdsr.plugin.steps import Clock, Counted, Counter
from napari_vdsr.plugin.train_job import Watch


class Told:
    """Keeps what a job reports."""

    def __init__(self):
        self.reports = []

    def __call__(self, report, /, *, wait=False):
        self.reports.append(report)

    def check(self):
        pass

    @property
    def texts(self):
        return [r if isinstance(r, str) else r.text() for r in self.reports if r != self.opened]

    @property
    def opened(self):
        (found,) = [r for r in self.reports if isinstance(r, Opened)] or [None]
        return found


@pytest.fixture
def clock(monkeypatch):
    """Time that stands still unless it is moved on."""
    now = [100.0]
    monkeypatch.setattr(steps.time, "monotonic", lambda: now[0])

    def pass_by(seconds):
        now[0] += seconds

    return pass_by


def test_a_step_is_told_by_time_whatever_its_number(clock):
    due = Clock(0.25)
    told = []
    for done in range(1001):
        if due.is_due(Counted(step="Tile", done=done, total=1000)):
            told.append(done)
        clock(0.001)
    assert told == [0, 250, 500, 750, 1000]
    assert due.is_due("finishing")
    assert not due.is_due("finishing")
    assert due.is_due(Counted(step="Tile", done=0, total=9))


def test_words_of_a_step(clock):
    blocks = Counter("Measuring intensities: block", 2401)
    assert blocks.now().text() == "Measuring intensities: block 1 of 2401"
    clock(10)
    assert blocks.count().text() == "Measuring intensities: block 2 of 2401, 6.7 h left"
    assert Counted(step="Tile", done=0, total=4, left=40).text() == "Tile 1 of 4, 40 s left"
    assert Counted(step="Tile", done=0, total=4, left=40).text(15) == "Tile 1 of 4, 25 s left"
    assert Counted(step="Tile", done=3, total=4, left=2).text(15) == "Tile 4 of 4, 1 s left"
    assert Counted(step="Tile", done=4, total=4).text() == "Tile 4 of 4"


def test_words_of_training(clock):
    watch = Watch()
    assert watch.step(0, 0).text() == "Step 1"
    assert watch.step(0, 300).text() == "Step 1 of 300"
    clock(20)
    assert watch.step(10, 300).text() == "Step 11 of 300, 10 min left"


@pytest.mark.parametrize("speed", [2_000, 50_000, 1_000_000, 30_000_000])
def test_tiles_take_a_second(speed):
    tiles = Pace(halo=20)
    assert tiles.side == pace.LEAST
    for _ in range(6):
        side = tiles.side
        tiles.learn(side, side, (side + 40) ** 2 / speed)
    seconds = (tiles.side + 40) ** 2 / speed
    assert tiles.side in (pace.LEAST, pace.MOST) or seconds == pytest.approx(1, rel=0.05)


def test_tiles_are_whole_chunks():
    tiles = Pace(halo=20, unit=512)
    assert tiles.side == 512
    tiles.learn(512, 512, 0.1)
    assert tiles.side % 512 == 0
    assert tiles.side > 512


@pytest.mark.parametrize("axes", ["YX", "YXS", "TCZYX"])
def test_tiles_of_any_size_give_the_same_result(axes, monkeypatch, shallow_model):
    sizes = {"T": 2, "C": 2, "Z": 3, "Y": 25, "X": 37, "S": 3}
    data = np.random.default_rng(0).integers(0, 4000, [sizes[a] for a in axes]).astype(np.uint16)
    expected = upscale(Image(data=data, axes=axes), load_model(), 2, device="cpu")
    request = Request(
        image=Image(data=data, axes=axes),
        first_plane=(1, 0, 1)[: axes.find("Y")],
        tile_seconds=0.02,  # so that their size changes on the way
    )
    monkeypatch.setattr(pace, "LEAST", 16)
    told = Told()
    upscale_job.run(request, told)
    result = told.opened.levels[RESULT][0]
    np.testing.assert_array_equal(result, expected.data.compute(scheduler="synchronous"))
    tiles = [report for report in told.reports if isinstance(report, Filled)]
    assert tiles[0].done == 0
    assert tiles[-1].done == tiles[-1].total
    assert any(text.startswith("Measuring intensities: block 1 of") for text in told.texts)
    assert told.texts[-1] == "finishing"


@pytest.mark.parametrize("scale", [(2.0, 2.0), (2.5, 1.5)])
def test_tiles_of_a_network_that_reads_the_source(scale, monkeypatch, tmp_path):
    path = tmp_path / "small.safetensors"
    network = ESPCN(widths=(4, 3)).eval()
    save_model(path, network, ModelCard(name="small", architecture="espcn", scales=(2, 3, 4)))
    data = np.random.default_rng(0).integers(0, 4000, (2, 25, 37)).astype(np.uint16)
    image = Image(data=data, axes="CYX")
    expected = upscale(image, load_model(path), scale, device="cpu")
    monkeypatch.setattr(pace, "LEAST", 16)
    told = Told()
    request = Request(image=image, model=str(path), scale=scale, tile_seconds=0.001)
    upscale_job.run(request, told)
    result = told.opened.levels[RESULT][0]
    difference = result.astype(int) - expected.data.compute(scheduler="synchronous")
    assert np.abs(difference).max() <= 1  # halves are rounded either way
    assert np.count_nonzero(difference) < 0.01 * difference.size
