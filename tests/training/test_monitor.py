"""The log, the curve and the guards."""

import math

import pytest
from PIL import Image

from napari_vdsr.errors import CollapseError, DivergenceError, TrainingError
from napari_vdsr.training.monitor import (
    Log,
    Progress,
    check_collapse,
    check_loss,
    draw_curve,
    read_log,
)


def progress(step, *, psnr=None):
    return Progress(
        step=step, steps=100, loss=1.5 / step, lr=1e-3, seconds=2.0 * step,
        patches_per_second=90.0, seconds_per_step=0.3,
        psnr=psnr or {}, gains={task: value - 30 for task, value in (psnr or {}).items()},
    )  # fmt: skip


class TestLog:
    def test_rows_come_back(self, tmp_path):
        log = Log(tmp_path / "log.csv", ("x2", "x3"), 0)
        log.add(progress(10))
        log.add(progress(20, psnr={"x2": 33.25, "x3": 31.5}))
        rows = read_log(tmp_path / "log.csv")
        assert rows == [
            {"step": "10", "loss": "0.15", "lr": "0.001", "seconds": "20.0",
             "psnr_x2": "", "psnr_x3": "", "gain_x2": "", "gain_x3": ""},
            {"step": "20", "loss": "0.075", "lr": "0.001", "seconds": "40.0",
             "psnr_x2": "33.2500", "psnr_x3": "31.5000", "gain_x2": "3.2500", "gain_x3": "1.5000"},
        ]  # fmt: skip

    def test_resuming_drops_what_the_checkpoint_does_not_know(self, tmp_path):
        log = Log(tmp_path / "log.csv", (), 0)
        for step in (10, 20, 30):
            log.add(progress(step))
        again = Log(tmp_path / "log.csv", (), 20)
        again.add(progress(30))
        assert [row["step"] for row in read_log(tmp_path / "log.csv")] == ["10", "20", "30"]
        assert [int(row["step"]) for row in again.rows] == [10, 20, 30]

    def test_a_row_that_was_cut_off_is_none(self, tmp_path):
        log = Log(tmp_path / "log.csv", (), 0)
        log.add(progress(10))
        log.add(progress(20))
        content = log.path.read_bytes()
        log.path.write_bytes(content[:-4])
        assert [row["step"] for row in read_log(log.path)] == ["10"]
        Log(log.path, (), 20).add(progress(30))
        assert [row["step"] for row in read_log(log.path)] == ["10", "30"]

    def test_a_new_run_starts_empty(self, tmp_path):
        Log(tmp_path / "log.csv", (), 0).add(progress(10))
        Log(tmp_path / "log.csv", (), 0)
        assert read_log(tmp_path / "log.csv") == []

    def test_validation_that_came_later_or_is_gone(self, tmp_path):
        Log(tmp_path / "log.csv", (), 0).add(progress(10))
        Log(tmp_path / "log.csv", ("x2",), 10).add(progress(20, psnr={"x2": 33.0}))
        assert [row["psnr_x2"] for row in read_log(tmp_path / "log.csv")] == ["", "33.0000"]
        Log(tmp_path / "log.csv", (), 20)
        assert list(read_log(tmp_path / "log.csv")[1]) == ["step", "loss", "lr", "seconds"]

    def test_no_log(self, tmp_path):
        assert read_log(tmp_path / "log.csv") == []


class TestGuards:
    @pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
    def test_divergence(self, loss):
        with pytest.raises(DivergenceError, match=r"by step 50: training diverged. Lower lr"):
            check_loss(loss, 50)
        assert issubclass(DivergenceError, (TrainingError, ArithmeticError))

    def test_collapse(self):
        with pytest.raises(CollapseError, match="collapsed to its input"):
            check_collapse(1e-5, 0.02)

    def test_healthy_runs_pass(self):
        check_loss(1e6, 50)
        check_collapse(0.02, 0.03)
        check_collapse(5e-4, 6e-4)  # a faint noise, nearly all of it taken away
        check_collapse(0.0, 0.0)


class TestCurve:
    def draw(self, folder, rows, scales=()):
        log = Log(folder / "log.csv", scales, 0)
        for row in rows:
            log.add(row)
        draw_curve(log.rows, folder / "curve.png")
        with Image.open(folder / "curve.png") as image:
            return image.size, len(image.convert("RGB").getcolors(maxcolors=10**6))

    def test_with_validation(self, tmp_path):
        rows = [progress(s, psnr={2: 30 + s / 20, 3: 29.5} if s % 4 == 0 else None)
                for s in range(1, 60)]  # fmt: skip
        (width, height), colours = self.draw(tmp_path, rows, (2, 3))
        assert width > 2 * height > 400
        assert colours > 50

    @pytest.mark.parametrize("count", [0, 1, 30])
    def test_without_validation(self, tmp_path, count):
        (width, height), _ = self.draw(tmp_path, [progress(step) for step in range(1, count + 1)])
        assert 2 * height > width > height > 200  # no place for what was not measured

    def test_nothing_of_a_half_drawn_file_is_left(self, tmp_path):
        self.draw(tmp_path, [progress(1)])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.png", "log.csv"]
