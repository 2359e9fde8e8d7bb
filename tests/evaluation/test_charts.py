"""Charts of tables: what stands where."""

import math

import pytest
from matplotlib.text import Text
from PIL import Image

from napari_vdsr.errors import ImageFileError
from napari_vdsr.evaluation import charts
from napari_vdsr.evaluation.charts import draw_charts, most_telling, speed
from napari_vdsr.evaluation.protocol import Score
from napari_vdsr.evaluation.published import figure
from napari_vdsr.evaluation.tables import Row


def row(model, psnr, *, scale=2, dataset="Set5", of=None, images=None, **changes):
    values = {"seconds": 2.0, "pixels": 4_000_000, "parameters": 1000, **changes}
    return Row(
        model=model, dataset=dataset, scale=scale, trained=True, images=2, psnr=psnr, ssim=0.9,
        mae=1.0, mse=1.0, gain=0.0, published=of and figure(of, dataset, scale),
        per_image={name: Score(p, 0.9, 1.0, 1.0) for name, p in (images or {}).items()}, **values,
    )  # fmt: skip


@pytest.fixture
def drawn(monkeypatch):
    seen = {}
    save = charts.save_figure

    def keep(figure, path, **options):
        seen[path.name] = figure
        save(figure, path, **options)

    monkeypatch.setattr(charts, "save_figure", keep)
    return seen


ROWS = [
    row("bicubic", 33.66, parameters=0, of="bicubic"),
    row("vdsr", 37.3, parameters=665_921, of="VDSR"),
    row("lite", 37.6, parameters=94_308, seconds=0.5),
    row("bicubic", 30.39, scale=3, parameters=0),
    row("vdsr", 33.4, scale=3, parameters=665_921),
]


def points(axes):
    return {
        (round(float(line.get_xdata()[0]), 6), float(line.get_ydata()[0]))
        for line in axes.lines
        if line.get_marker() == "o"
    }


@pytest.mark.slow
def test_points_stand_where_the_figures_are(tmp_path, drawn):
    made = draw_charts(ROWS, tmp_path / "new" / "folder")
    assert [path.name for path in made] == ["Set5-speed.png", "Set5-size.png"]
    for path in made:
        with Image.open(path) as picture:
            assert picture.width > picture.height
    two, three = drawn["Set5-speed.png"].axes
    assert points(two) == {(2.0, 37.3), (8.0, 37.6)}
    assert points(three) == {(2.0, 33.4)}
    assert points(drawn["Set5-size.png"].axes[0]) == {
        (665_921, 37.3), (94_308, 37.6), (665_921, 37.53),
    }  # fmt: skip


@pytest.mark.slow
def test_every_network_is_named_inside_the_figure_and_no_name_on_another(tmp_path, drawn):
    near = [row(f"network-{n}", 37 + 0.01 * n, parameters=1000 + 10 * n) for n in range(6)]
    draw_charts([row("bicubic", 33.66), *near], tmp_path)
    figure = drawn["Set5-size.png"]
    (axes,) = figure.axes
    figure.draw_without_rendering()
    boxes = [
        Text.get_window_extent(text) for text in axes.texts if text.get_text() != "bicubic"
    ]  # without its line
    assert len(boxes) == 6
    for number, box in enumerate(boxes):
        assert 0 <= box.x0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])


# Models that have nearly the same weights and figures: Set14 at x4.
CROWD = [
    row("bicubic", 26.00, parameters=0),
    *(row(name, psnr, parameters=weights) for name, psnr, weights in [
        ("btsrn", 27.795, 548_000), ("vdsr-fluo", 27.792, 665_921), ("vdsr", 28.03, 665_921),
        ("lite-plus", 28.35, 547_776), ("lite", 28.22, 189_888), ("drrn", 28.03, 297_601),
        ("espcn-x4", 27.40, 24_752), ("srcnn-x4", 27.38, 57_281), ("lite-noisy", 27.51, 97_408),
        ("edsr", 28.31, 1_515_000), ("srresnet", 27.52, 1_528_724), ("fsrcnn", 27.63, 12_809),
    ]),
]  # fmt: skip


@pytest.mark.slow
def test_nothing_lies_between_a_point_and_its_name(tmp_path, drawn):
    draw_charts(CROWD, tmp_path)
    (axes,) = drawn["Set5-size.png"].axes
    axes.figure.draw_without_rendering()
    spots = {one.model: axes.transData.transform((one.parameters, one.psnr)) for one in CROWD[1:]}
    names = {text.get_text(): text for text in axes.texts if text.get_text() in spots}
    boxes = {name: Text.get_window_extent(text) for name, text in names.items()}
    assert boxes.keys() == spots.keys()
    for name, (x, y) in spots.items():
        box = boxes[name]
        end = (box.x0 if box.x0 > x else box.x1, (box.y0 + box.y1) / 2)
        line = [(x + t * (end[0] - x), y + t * (end[1] - y)) for t in (0.2, 0.4, 0.6, 0.8, 1.0)]
        for other in spots.keys() - {name}:
            assert not any(boxes[other].contains(*place) for place in line), (name, other)
            assert min(math.dist(place, spots[other]) for place in line) > 2, (name, other)
    assert boxes["btsrn"].x1 < spots["btsrn"][0] < spots["vdsr-fluo"][0] < boxes["vdsr-fluo"].x0


@pytest.mark.slow
def test_names_of_many_networks_of_one_size_can_be_read(tmp_path, drawn):
    seeds = [row(f"network-seed-{n:02}", 37 + 0.02 * n, parameters=24_752) for n in range(12)]
    draw_charts([row("bicubic", 33.66, parameters=0), *seeds], tmp_path)
    (axes,) = drawn["Set5-size.png"].axes
    axes.figure.draw_without_rendering()
    spots = [axes.transData.transform((24_752, one.psnr)) for one in seeds]
    boxes = [Text.get_window_extent(text) for text in axes.texts if "seed" in text.get_text()]
    assert len(boxes) == len(seeds)
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        assert not any(box.contains(*spot) for spot in spots)


@pytest.mark.slow
def test_no_name_stands_on_a_point(tmp_path, drawn):
    others = [row(f"a-network-{n}", 37, parameters=1000 * 2**n) for n in range(4)]
    draw_charts([row("bicubic", 33.66), row("alone", 36, parameters=1000), *others], tmp_path)
    figure = drawn["Set5-size.png"]
    (axes,) = figure.axes
    figure.draw_without_rendering()
    spots = [axes.transData.transform((1000 * 2**n, 37)) for n in range(4)]
    for text in axes.texts:
        assert not any(Text.get_window_extent(text).contains(*spot) for spot in spots)


@pytest.mark.slow
def test_long_names_leave_room_for_the_points(tmp_path, drawn):
    names = ["short", "n" * 60, "e" * 30]
    rows = [row(name, 37 + n / 10, parameters=1000 * 9**n) for n, name in enumerate(names)]
    draw_charts([row("bicubic", 33.66), *rows], tmp_path)
    figure = drawn["Set5-size.png"]
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.get_position().width > 0.6
    for text in axes.texts:
        assert Text.get_window_extent(text).x1 <= figure.bbox.x1


def test_bicubic_alone_has_no_chart(tmp_path, caplog):
    assert draw_charts([row("bicubic", 33.66)], tmp_path) == []
    assert "no network has a finite PSNR there to chart" in caplog.text


@pytest.mark.parametrize("networks", [(math.inf,), (math.inf, 37.0)])
def test_infinite_figures_are_left_out(tmp_path, networks):
    """Of an image of one grey level."""
    rows = [row("bicubic", math.inf), *(row(f"n{psnr}", psnr) for psnr in networks)]
    assert len(draw_charts(rows, tmp_path)) == 2 * (37.0 in networks)


def test_speed_without_time(tmp_path):
    assert speed(row("vdsr", 37.0, seconds=0.0)) == 0
    assert len(draw_charts([row("bicubic", 33.0), row("vdsr", 37.0, seconds=0.0)], tmp_path)) == 2


def test_image_that_tells_most():
    rows = [
        row("bicubic", 30, images={"a.png": 30.0, "b.png": 28.0}),
        row("vdsr", 33, images={"a.png": 31.0, "b.png": 32.0}),
        row("bicubic", 28, scale=4, images={"a.png": 28.0, "b.png": 26.0}),
        row("vdsr", 29, scale=4, images={"a.png": 29.5, "b.png": 26.5}),
    ]
    assert most_telling(rows) == {"Set5": ("a.png", 4)}
    assert most_telling(rows[:2]) == {"Set5": ("b.png", 2)}
    assert most_telling(rows[:1]) == {}


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageFileError, match="Save the figures elsewhere"):
        draw_charts(ROWS, tmp_path / "file" / "folder")
