"""What a run does every so often."""

from types import SimpleNamespace

import pytest

from napari_vdsr.training.config import TrainConfig
from napari_vdsr.training.measuring import PROBE, count_out


class TestMinutes:
    """Steps counted out from the speed: 10 minutes, 0.5 s a step, a measurement takes 6 s."""

    @staticmethod
    def counted(monkeypatch, share, start_from=""):
        clock = iter([100.0, 106.0])
        monkeypatch.setattr("napari_vdsr.training.measuring.time.monotonic", lambda: next(clock))
        fabric = SimpleNamespace(broadcast=lambda value: value)
        config = TrainConfig(minutes=10.0, start_from=start_from)
        run = SimpleNamespace(
            config=config, seconds=21.0, seconds_per_step=0.5, fabric=fabric, result=None
        )
        held_out = SimpleNamespace(psnr=lambda network: None, share=share)
        count_out(run, held_out)
        return run.config.steps

    @pytest.mark.parametrize(
        ("share", "start_from", "reporting"),
        [(1.0, "", 6), (0.25, "", 24), (0.25, "vdsr", 48), (0.01, "vdsr", 150)],
    )
    def test_measurements_and_report_are_part_of_them(
        self, monkeypatch, share, start_from, reporting
    ):
        left = 600 - 21 - 20 * 6 - reporting
        assert self.counted(monkeypatch, share, start_from) == PROBE + left / 0.5
