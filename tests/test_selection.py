"""A part of an image is what it is in the whole: pixels, places, times and names."""

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from roifile import ROI_TYPE, ImagejRoi

from napari_vdsr import load_model, read_image, select, upscale, write_image
from napari_vdsr.batch import Settings, plan, run
from napari_vdsr.errors import AxesError, UsageError
from napari_vdsr.image import Channel, Image
from napari_vdsr.io import read_provenance
from napari_vdsr.selection import Selection, parse_selection, selected

BICUBIC = load_model("bicubic")


def stack(**changes):
    data = np.arange(4 * 3 * 2 * 10 * 12, dtype=np.uint16).reshape(4, 3, 2, 10, 12)
    fields = {
        "axes": "TCZYX",
        "pixel_size": {"Z": 2.0, "Y": 0.5, "X": 0.25},
        "origin": {"X": 100.0},
        "time_step": 3.0,
        "channels": tuple(Channel(name=n, contrast=(i, i + 9)) for i, n in enumerate("abc")),
    }
    return Image(**{"data": data, **fields, **changes})


def test_pixels_and_what_is_said_of_them():
    image = stack()
    part = select(image, T=slice(1, None, 2), C=-1, Z=1, Y=slice(2, 8), X=slice(4, -2))
    assert np.array_equal(part.data, image.data[1::2, 2:3, 1:2, 2:8, 4:-2])
    assert part.axes == image.axes
    assert part.origin == {"Z": 2.0, "Y": 1.0, "X": 101.0}
    assert (part.time_step, part.pixel_size) == (6.0, dict(image.pixel_size))
    assert part.channels == image.channels[2:]
    assert (
        part.metadata["selection"] == "T=1:4:2 of 4, C=2 of 3, Z=1 of 2, Y=2:8 of 10, X=4:10 of 12"
    )
    assert part.notes == (f"of it {part.metadata['selection']}",)


def test_steps_in_depth_count():
    part = select(stack(data=np.zeros((4, 3, 9, 10, 12))), Z=slice(1, 8, 3))
    assert part.size("Z") == 3
    assert (part.pixel_size["Z"], part.origin["Z"]) == (6.0, 2.0)


def test_all_of_an_axis_is_no_selection():
    image = stack()
    assert select(image, T=slice(None), Z=slice(0, 2)) is image
    assert selected(image, Selection()) is image


def test_a_part_of_a_part_is_told_from_the_whole():
    part = select(select(stack(), Y=slice(2, 8)), Y=slice(1, 3))
    assert part.metadata["selection"] == "Y=2:8 of 10; of that Y=1:3 of 6"
    assert part.origin["Y"] == 1.5


@pytest.mark.parametrize(
    ("places", "error", "says"),
    [
        ({"Q": 1}, AxesError, r"no axis Q .* T \(4\), C \(3\), Z \(2\), Y \(10\), X \(12\)"),
        ({"T": 4}, UsageError, "T=4 is beyond .* has 4, from 0 to 3"),
        ({"T": -5}, UsageError, "T=-5 is beyond"),
        ({"T": slice(0, 5)}, UsageError, "T=0:5 goes beyond"),
        ({"Y": slice(11, None)}, UsageError, "Y=11: goes beyond"),
        ({"Y": slice(4, 4)}, UsageError, "takes nothing"),
        ({"Y": slice(6, 4)}, UsageError, "takes nothing"),
        ({"Y": slice(0, 4, 2)}, UsageError, "without steps"),
        ({"T": slice(None, None, -1)}, UsageError, "steps are positive"),
    ],
)
def test_what_is_not_there_is_said(places, error, says):
    with pytest.raises(error, match=says) as caught:
        select(stack(), **places)
    assert "\n" not in str(caught.value)


def test_colour_samples_go_together():
    with pytest.raises(AxesError, match="colour samples go together"):
        select(Image(data=np.zeros((4, 5, 3), np.uint8), axes="YXS"), S=0)


@pytest.mark.parametrize(
    ("given", "crop", "meant"),
    [
        ("T=0:10,C=1,Z=5", None, {"T": slice(0, 10), "C": 1, "Z": 5}),
        (" t = :3 , Z=-1", None, {"T": slice(None, 3), "Z": -1}),
        ("T=::2", "5:,:7", {"T": slice(None, None, 2), "Y": slice(5, None), "X": slice(None, 7)}),
        (None, None, {}),
    ],
)
def test_text_is_read(given, crop, meant):
    assert parse_selection(given, crop).indices == meant


@pytest.mark.parametrize(
    ("given", "crop", "says"),
    [
        ("", None, "not understood; write e.g. T=0:10"),
        ("T", None, "not understood"),
        ("T=", None, "not understood"),
        ("T=a", None, "not understood"),
        ("T=1:2:3:4", None, "not understood"),
        ("TC=1", None, "not understood"),
        ("T=1,T=2", None, "twice"),
        ("Y=1:2", "0:3,0:3", "axis Y is selected twice"),
        (None, "1:2", "rows and columns"),
        (None, "1,2", "no range"),
        (None, "1:2,x:4", "not understood"),
    ],
)
def test_text_that_says_nothing_is_refused(given, crop, says):
    with pytest.raises(UsageError, match=says):
        parse_selection(given, crop)


def test_a_crop_reads_what_it_needs_and_no_more(tmp_path):
    """Pieces beside the crop are damaged, and nobody meets them."""
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=3)
    array = group.create_array("0", shape=(4096, 4096), chunks=(512, 512), dtype="u2")
    array[:] = np.random.default_rng(0).integers(1, 999, (4096, 4096)).astype("u2")
    axes = [{"name": a, "type": "space"} for a in "yx"]
    scale = [{"type": "scale", "scale": [1.0, 1.0]}]
    dataset = {"path": "0", "coordinateTransformations": scale}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [dataset]}]}
    expected = array[600:700, 3000:3050]
    for piece in (tmp_path / "a.zarr/0/c").glob("*/*"):
        if piece.relative_to(tmp_path / "a.zarr/0/c").as_posix() != "1/5":
            piece.write_bytes(b"damaged")
    part = select(read_image(tmp_path / "a.zarr"), Y=slice(600, 700), X=slice(3000, 3050))
    assert np.array_equal(part.data.compute(), expected)
    assert upscale(part, BICUBIC).data.compute().shape == (200, 100)


def test_the_part_lies_where_it_lies_in_the_whole():
    """Upscaling commutes with the choice of planes, and keeps the place of a crop."""
    image = stack(data=da.from_array(stack().data, chunks=(1, 1, 1, 5, 5)))
    whole, part = upscale(image, BICUBIC), select(image, C=1, T=slice(2, 4))
    made = upscale(part, BICUBIC, normalize="dtype")
    expected = upscale(image, BICUBIC, normalize="dtype").data[2:4, 1:2]
    assert np.array_equal(made.data.compute(), expected.compute())
    cropped = upscale(select(image, Y=slice(4, 8), X=slice(2, 12)), BICUBIC)
    assert cropped.origin["Y"] == pytest.approx(whole.origin["Y"] + 4 * 0.5)
    assert cropped.origin["X"] == pytest.approx(whole.origin["X"] + 2 * 0.25)
    assert made.metadata["provenance"]["selection"] == "C=1 of 3, T=2:4 of 4"


def test_what_is_said_of_single_planes_goes_along():
    planes = {
        (t, c, z): {"DeltaT": str(100 * t + 10 * c + z)}
        for t in range(4) for c in range(3) for z in range(2)
    }  # fmt: skip
    fluors = [{"Fluor": n} for n in "abc"]
    labels = [f"{t}{z}{c}" for t in range(4) for z in range(2) for c in range(3)]
    imagej = {"Labels": labels, "Ranges": (0.0, 1.0, 2.0, 3.0, 4.0, 5.0), "LUTs": ["r", "g", "b"]}
    metadata = {"ome": {"channels": fluors, "planes": planes}, "imagej": imagej}
    part = select(stack(metadata=metadata), T=slice(2, 4), C=slice(1, 3), Z=1)
    assert part.metadata["ome"]["channels"] == fluors[1:]
    assert part.metadata["ome"]["planes"] == {
        (t, c, 0): {"DeltaT": str(100 * (t + 2) + 10 * (c + 1) + 1)}
        for t in range(2) for c in range(2)
    }  # fmt: skip
    assert part.metadata["imagej"]["Labels"] == ["211", "212", "311", "312"]
    assert part.metadata["imagej"]["Ranges"] == (2.0, 3.0, 4.0, 5.0)
    assert part.metadata["imagej"]["LUTs"] == ["g", "b"]


def test_later_frames_were_acquired_later():
    image = stack(metadata={"acquired": "2024-05-01T10:00:00Z"})
    assert select(image, T=slice(2, 4)).metadata["acquired"] == "2024-05-01T10:00:06Z"
    planes = {(0, 0, 0): {"DeltaT": "1"}, (2, 0, 0): {"DeltaT": "7"}}  # since then
    image = stack(metadata={**image.metadata, "ome": {"planes": planes}})
    part = select(image, T=slice(2, 4))
    assert part.metadata["acquired"] == "2024-05-01T10:00:00Z"
    assert part.metadata["ome"]["planes"] == {(0, 0, 0): {"DeltaT": "7"}}


def test_the_first_plane_that_is_left_gives_the_position():
    far = {(0, 0, 0): {"DeltaT": "1"}, (2, 0, 0): {"shift": {"X": 7.0}, "DeltaT": "3"}}
    part = select(stack(metadata={"ome": {"planes": far}}), T=slice(2, 4), C=0, Z=0)
    assert part.origin == {"X": 107.0}
    assert part.metadata["ome"]["planes"] == {
        (0, 0, 0): {"DeltaT": "3"},
        (1, 0, 0): {"shift": {"X": -7.0}},
    }


def rectangle(left, top, **fields):
    region = ImagejRoi(
        roitype=ROI_TYPE.RECT, left=left, top=top, right=left + 3, bottom=top + 3, **fields
    )
    return region.tobytes()


def test_regions_go_along_with_their_planes():
    overlays = [rectangle(5, 4, z_position=2), rectangle(5, 4, z_position=1), rectangle(0, 0)]
    part = select(
        stack(metadata={"imagej": {"Overlays": overlays}}), Z=1, Y=slice(3, 9), X=slice(4, 12)
    )
    (kept,) = part.metadata["imagej"]["Overlays"]
    region = ImagejRoi.frombytes(kept)
    assert (region.left, region.top, region.right, region.bottom) == (1, 1, 4, 4)
    assert region.z_position == 1


def test_planes_of_regions_count_through_all_axes_as_imagej_does():
    """Channels first, then slices, then frames; 0 is on all of them, and less no plane."""
    numbers = [0, 2, 5, 8, 14, 17, 25, -2]  # of T4 Z2 C3
    overlays = [rectangle(0, 0, position=number) for number in numbers]
    image = stack(metadata={"imagej": {"Overlays": overlays}})

    def positions(**places):
        found = select(image, **places).metadata["imagej"]["Overlays"]
        return [ImagejRoi.frombytes(one).position for one in found]

    assert positions(T=1, Z=0) == [0, 2, -2]
    assert positions(T=slice(1, 3), C=(1, 0)) == [0, 1, 5, 7, -2]
    assert positions(X=slice(1, 9)) == numbers


def test_points_of_other_planes_are_left_out():
    region = ImagejRoi.frompoints(np.array([[1, 2], [3, 4], [5, 6]], np.float32))
    region.roitype = ROI_TYPE.POINT
    region.counters = np.array([1, 2, 3], np.uint8)
    region.counter_positions = np.array([8, 2, 0], np.uint32)
    image = stack(metadata={"imagej": {"ROI": region.tobytes()}})
    part = ImagejRoi.frombytes(select(image, T=1, Z=0).metadata["imagej"]["ROI"])
    assert part.coordinates().tolist() == [[1, 2], [5, 6]]
    assert (part.counters.tolist(), part.counter_positions.tolist()) == ([1, 3], [2, 0])
    region.counter_positions[:] = 2
    image = stack(metadata={"imagej": {"ROI": region.tobytes()}})
    assert "ROI" not in select(image, T=1, Z=0).metadata["imagej"]


def test_a_batch_takes_the_part_and_tells(tmp_path):
    image = stack()
    (tmp_path / "in").mkdir()
    for name in ("a.ome.tif", "b.ome.zarr"):
        write_image(image, tmp_path / "in" / name)
    tifffile.imwrite(tmp_path / "in/c.tif", np.zeros((9, 9), np.uint8))
    jobs = plan([str(tmp_path / "in")], tmp_path / "out")
    part = parse_selection("T=1:3,C=1", "2:8,:")
    settings = Settings(model=BICUBIC, selection=part)
    planned = run(jobs, settings, dry_run=True)
    assert [result.status for result in planned] == ["planned", "planned", "failed"]
    assert planned[0].output_shape == [2, 1, 2, 12, 24]
    assert "no axis T" in planned[2].reason
    results = run(jobs, settings)
    assert [result.status for result in results] == ["done", "done", "failed"]
    for result in results[:2]:
        made = read_image(result.target)
        assert made.size("T") == 2
        assert made.channels[0].name == "b"
        assert made.origin["Y"] == pytest.approx(2 * 0.5 - 0.125)
        assert "Y=2:8 of 10" in read_provenance(result.target)["selection"]
        assert any("Y=2:8 of 10" in note for note in result.notes)
    assert [r.status for r in run(jobs, settings)] == ["already done", "already done", "failed"]
    assert [r.status for r in run(jobs, Settings(model=BICUBIC))][:2] == ["failed", "failed"]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [("b", [1]), ("C,A", [2, 0]), ("2,0", [2, 0]), ("a,b,c", [0, 1, 2]), ("b,2", [1, 2])],
)
def test_channels_are_taken_in_the_order_asked_for(wanted, numbers):
    image = stack(data=da.from_array(stack().data, chunks=(1, 2, 1, 5, 5)))
    part = selected(image, parse_selection(channels=wanted))
    np.testing.assert_array_equal(part.data, np.asarray(image.data)[:, numbers])
    assert [channel.name for channel in part.channels] == ["abc"[i] for i in numbers]


def test_a_number_may_be_a_name():
    channels = tuple(Channel(name=name) for name in ("2", "0", "x"))
    image = stack(channels=channels)
    assert select(image, C=("2",)).channels == channels[:1]
    assert select(image, C=(2,)).channels == channels[2:]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (("d",), "has no channel 'd'; it has 0 (a), 1 (b), 2 (c)"),
        (("3",), "has no channel '3'"),
        (("-1",), "has no channel '-1'"),
        (("a", 0), "channels a, 0 of image 'stack' name one of them twice"),
    ],
)
def test_channels_that_are_not_there(wanted, says):
    with pytest.raises(UsageError) as caught:
        select(stack(name="stack"), C=wanted)
    assert says in str(caught.value)


def test_channels_of_one_name_are_told_apart_by_number():
    image = stack(channels=tuple(Channel(name=name) for name in ("GFP", "gfp", "GFP")))
    with pytest.raises(UsageError, match="several channels 'GFP': name it by its number"):
        select(image, C=("GFP",))
    assert select(image, C=("gfp",)).channels == image.channels[1:2]
    assert select(image, C=("0",)).channels == image.channels[:1]


def test_the_one_channel_of_an_image_may_be_named():
    image = Image(data=np.zeros((5, 6)), axes="YX", channels=(Channel(name="DAPI"),))
    assert select(image, C=("dapi",)) is image
    with pytest.raises(UsageError, match="no channel 'GFP'; it has 0"):
        select(image, C=("GFP",))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"channels": "a,,b"}, "not understood"),
        ({"channels": ""}, "not understood"),
        ({"channels": "a", "select": "C=1"}, "selected twice"),
    ],
)
def test_channels_are_named_once(given, says):
    with pytest.raises(UsageError, match=says):
        parse_selection(**given)


def test_channels_out_of_order_in_a_batch(tmp_path):
    (tmp_path / "in").mkdir()
    image = stack()
    write_image(image, tmp_path / "in/a.ome.tif")
    jobs = plan([str(tmp_path / "in")], tmp_path / "out")
    settings = Settings(model=BICUBIC, selection=parse_selection(channels="c,a"))
    (result,) = run(jobs, settings)
    assert result.status == "done", result.reason
    made = read_image(result.target)
    assert [channel.name for channel in made.channels] == ["c", "a"]
    assert read_provenance(result.target)["selection"] == "C=2+0 of 3"
    (again,) = run(jobs, settings)
    assert again.status == "already done"


@pytest.mark.parametrize("channel", [0, "1", "red"])
def test_colours_are_no_channels(channel):
    image = Image(data=np.zeros((4, 5, 3), np.uint8), axes="YXS", name="photo")
    with pytest.raises(UsageError, match="its colours are no channels"):
        select(image, C=(channel,))
    named = image.with_(channels=(Channel(name="Brightfield"),))
    assert select(named, C=("brightfield",)) is named
