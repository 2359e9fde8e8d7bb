"""What a run does every so often."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from napari_vdsr.errors import TrainingError
from napari_vdsr.training.config import TrainConfig
from napari_vdsr.training.measuring import PROBE, count_out, keep_best


class TestMinutes:
    """Of 10 minutes: a step takes 0.5 s, a measurement 4 s, and drawing it 2 s more."""

    @staticmethod
    def counted(monkeypatch, share, start_from="", **settings):
        clock = iter([100.0, 104.0, 106.0])
        drawn = []
        monkeypatch.setattr(
            "napari_vdsr.training.measuring.draw_samples", lambda *given: drawn.append(given[-1])
        )
        monkeypatch.setattr("napari_vdsr.training.measuring.time.monotonic", lambda: next(clock))
        fabric = SimpleNamespace(broadcast=lambda value: value, is_global_zero=True)
        config = TrainConfig(minutes=10.0, start_from=start_from, **settings)
        run = SimpleNamespace(
            config=config, seconds=21.0, seconds_per_step=0.5, fabric=fabric, result=None,
            output=Path("run"),
        )  # fmt: skip
        held_out = SimpleNamespace(share=share)
        held_out.psnr = lambda network: setattr(run, "seconds_per_step", 0.63)  # no step meanwhile
        count_out(run, held_out)
        assert 19 <= -(-run.config.steps // run.config.validate_every) <= 20
        assert drawn == [Path("run/samples.png")]
        return run.config.steps

    @pytest.mark.parametrize(
        ("share", "start_from", "reporting"),
        [(1.0, "", 4), (0.25, "", 16), (0.25, "vdsr", 32), (0.01, "vdsr", 150)],
    )
    def test_measurements_and_report_are_part_of_them(
        self, monkeypatch, share, start_from, reporting
    ):
        left = 600 - 21 - 20 * 6 - reporting
        assert self.counted(monkeypatch, share, start_from) == PROBE + left / 0.5

    def test_too_few_for_a_discriminator(self, monkeypatch):
        """It would be trained on l1 alone, and called SRGAN."""
        with pytest.raises(TrainingError, match="10 minutes are 940 steps here, and pretrain is"):
            self.counted(monkeypatch, 1.0, loss="gan", pretrain=940)
        assert self.counted(monkeypatch, 1.0, loss="gan", pretrain=939) == 940


class TestBest:
    def test_a_gain_that_is_no_number_is_none(self):
        run = SimpleNamespace(best=None, best_step=0, step=10, config=TrainConfig(keep="last"))
        for step, gain in ((10, float("nan")), (20, 0.5), (30, float("inf")), (40, 0.7)):
            run.step = step
            keep_best(run, {"x2": gain}, Path("m"))
            assert run.best == {10: None, 20: 0.5, 30: 0.5, 40: 0.7}[step]
        assert run.best_step == 40
