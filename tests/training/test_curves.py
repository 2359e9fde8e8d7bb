"""Curves of several runs in one figure."""

import pytest
from matplotlib.text import Text
from PIL import Image
from typer.testing import CliRunner

from napari_vdsr.cli.main import app
from napari_vdsr.errors import TrainingError, UsageError
from napari_vdsr.training.curves import draw_curves, read_courses


def write(folder, gains, *, bicubic=33.66, tasks=("x2", "x3")):
    folder.mkdir()
    columns = [f"psnr_{t}" for t in tasks] + [f"gain_{t}" for t in tasks]
    lines = [",".join(["step", "loss", "lr", "seconds", *columns])]
    for number, gain in enumerate(gains, 1):
        lines.append(f"{100 * number - 50},0.1,0.001,{60 * number - 30}" + "," * len(columns))
        figures = [f"{bicubic + gain:.4f}"] * len(tasks) + [f"{gain:.4f}"] * len(tasks)
        lines.append(",".join([str(100 * number), "0.1", "0.001", str(60 * number), *figures]))
    (folder / "log.csv").write_text("\n".join([*lines, ""]))
    return folder


def test_course_of_a_run(tmp_path):
    name, courses = read_courses(write(tmp_path / "lite", [1.0, 2.0]))
    assert name == "lite"
    assert list(courses) == ["x2", "x3"]
    assert courses["x2"].steps == [100, 200]
    assert courses["x2"].minutes == [1, 2]
    assert courses["x2"].gains == [1, 2]
    assert courses["x2"].baseline == pytest.approx(33.66)


@pytest.mark.parametrize("against", ["minutes", "steps"])
def test_figure(tmp_path, against):
    runs = [write(tmp_path / name, [1.0, 2.0]) for name in ("a", "b")]
    runs.append(write(tmp_path / "c", [1.0], tasks=("x4",)))
    assert draw_curves(runs, tmp_path / "f.png", against=against)
    with Image.open(tmp_path / "f.png") as picture:
        assert picture.width > 3 * 3.4 * 150


def test_many_runs_are_told_apart_and_a_poor_start_leaves_room(tmp_path, monkeypatch):
    runs = [write(tmp_path / name, [-20.0, 1.0 + n / 10]) for n, name in enumerate("abcdefg")]
    figures = []
    monkeypatch.setattr(
        "napari_vdsr.training.curves.save_figure", lambda figure, *_, **__: figures.append(figure)
    )
    draw_curves(runs, tmp_path / "f.png")
    axes = figures[0].axes[0]
    curves = [
        line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_marker() == "o"
    ]
    assert len({(line.get_color(), str(line._dash_pattern)) for line in curves}) == len(runs)
    assert -3 < axes.get_ylim()[0] < 0


def test_a_log_that_an_editor_has_marked_is_read(tmp_path):
    run = write(tmp_path / "a", [1.0])
    text = (run / "log.csv").read_text("utf-8")
    (run / "log.csv").write_text(text, encoding="utf-8-sig")
    assert read_courses(run)[1]["x2"].steps == [100]


def test_a_run_that_is_given_twice_is_drawn_once(tmp_path):
    run = write(tmp_path / "a", [1.0, 2.0])
    draw_curves([run], tmp_path / "once.png")
    draw_curves([run, run / "log.csv", run / ".." / "a"], tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes() == (tmp_path / "once.png").read_bytes()


@pytest.mark.slow
def test_names_of_many_runs_stand_apart_and_inside(tmp_path, monkeypatch):
    names = [f"my-microscope-and-a-long-name-{n}" for n in range(24)]
    runs = [write(tmp_path / name, [0.5, 1 + n / 1000]) for n, name in enumerate(names)]
    figures = []
    monkeypatch.setattr(
        "napari_vdsr.training.curves.save_figure", lambda figure, *_, **__: figures.append(figure)
    )
    draw_curves(runs, tmp_path / "f.png")
    (figure,) = figures
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]
    assert len({text.get_text() for text in figure.axes[0].texts}) == len(boxes) == len(runs)
    for number, box in enumerate(boxes):
        assert box.y0 >= 0 and box.y1 <= figure.bbox.y1 and box.x1 <= figure.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[:number])


@pytest.mark.slow
def test_other_images_are_told(tmp_path):
    runs = [write(tmp_path / "a", [1.0]), write(tmp_path / "b", [2.0], bicubic=31.0)]
    assert not draw_curves(runs, tmp_path / "f.png")
    result = CliRunner().invoke(app, ["curves", *map(str, runs), "-o", str(tmp_path / "g.png")])
    assert result.exit_code == 0
    assert "different images" in result.stderr


def test_run_without_measurements_is_left_out(tmp_path, caplog):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "log.csv").write_text("step,loss,lr,seconds\n50,1,1,1\n")
    assert draw_curves([tmp_path / "new", write(tmp_path / "a", [1.0])], tmp_path / "f.png")
    assert (tmp_path / "f.png").is_file()
    assert f"{tmp_path / 'new'}: nothing was measured in this run yet" in caplog.text


def test_refused(tmp_path):
    with pytest.raises(TrainingError, match="no such log"):
        draw_curves([tmp_path / "gone"], tmp_path / "f.png")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "log.csv").write_text("step,loss,lr,seconds\n50,1,1,1\n")
    with pytest.raises(TrainingError, match="nothing was measured"):
        draw_curves([tmp_path / "new"], tmp_path / "f.png")
    (tmp_path / "new" / "log.csv").write_text("step,gain_x2,seconds\n50,nan,3\n")
    with pytest.raises(TrainingError, match="is no log of a run"):
        draw_curves([tmp_path / "new"], tmp_path / "f.png")
    for text in ("step,gain_x2,seconds\n50,1,3,4\n", "step;gain_x2;seconds\n50;1;3\n"):
        (tmp_path / "new" / "log.csv").write_text(text)
        with pytest.raises(TrainingError, match=r"is no log of a run \(its columns are others"):
            draw_curves([tmp_path / "new"], tmp_path / "f.png")
    (tmp_path / "other").mkdir()
    runs = [write(folder / "a", [1.0]) for folder in (tmp_path, tmp_path / "other")]
    run = runs[0]
    with pytest.raises(UsageError, match="two runs are named 'a'"):
        draw_curves(runs, tmp_path / "f.png")
    with pytest.raises(UsageError, match="must end in"):
        draw_curves([run], tmp_path / "f.txt")
