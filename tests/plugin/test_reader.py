"""What the reader makes of folders, plates, stacks, and of what it cannot read."""

import numpy as np
import pytest
import tifffile
import zarr
from napari.layers import Layer

from napari_vdsr.errors import ImageFileError
from napari_vdsr.image import Image
from napari_vdsr.io import write_image
from napari_vdsr.plugin import commands, reader
from napari_vdsr.plugin.layers import contradiction, layer_data, to_image
from napari_vdsr.plugin.reader import get_reader, read_layers
from napari_vdsr.plugin.stacking import stacked
from napari_vdsr.plugin.writer import write_ome_tiff


def picture(seed=0, shape=(20, 30), dtype=np.uint16):
    return (np.random.default_rng(seed).random(shape) * 200).astype(dtype)


def tiff(path, data=None):
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, picture() if data is None else data)
    return str(path)


def cut_short(path):
    tifffile.imwrite(
        path,
        np.stack([picture(shape=(200, 300))] * 3),
        photometric="minisblack",
        metadata={"axes": "ZYX"},
    )
    path.write_bytes(path.read_bytes()[:3000])
    return str(path)


def field(path, data):
    write_image(Image(data=data, axes="YX"), path)


@pytest.fixture
def plate(tmp_path):
    path = tmp_path / "plate.zarr"
    wells = [
        {"path": name, "rowIndex": 0, "columnIndex": i} for i, name in enumerate(("A/1", "A/2"))
    ]
    zarr.open_group(path, mode="w").attrs["ome"] = {"version": "0.5", "plate": {"wells": wells}}
    for number, well in enumerate(wells):
        images = {"images": [{"path": "0"}, {"path": "1"}]}
        group = zarr.open_group(path / well["path"], mode="w")
        group.attrs["ome"] = {"version": "0.5", "well": images}
        for index in (0, 1):
            field(path / well["path"] / f"{index}.zarr", picture(2 * number + index))
            (path / well["path"] / f"{index}.zarr").rename(path / well["path"] / str(index))
    return str(path)


def read(path):
    return [Layer.create(*one) for one in get_reader(path)(path)]


def test_a_folder_opens_each_image_in_the_order_people_count(tmp_path):
    for number in (10, 2, 1):
        tiff(tmp_path / "f" / f"s{number}.tif", picture(number))
    (tmp_path / "f" / "notes.txt").write_text("notes")
    tiff(tmp_path / "f" / "._s1.tif")
    layers = read(str(tmp_path / "f"))
    assert [layer.name for layer in layers] == ["s1", "s2", "s10"]
    np.testing.assert_array_equal(layers[2].data, picture(10))


def test_a_folder_or_files_open_as_a_stack_where_one_is_asked_for(tmp_path):
    files = [tiff(tmp_path / "f" / f"{number}.ome.tif", picture(number)) for number in range(3)]
    for asked in (files, [str(tmp_path / "f")]):
        ((data, meta, kind),) = get_reader(asked)(asked)
        assert kind == "image"
        np.testing.assert_array_equal(data, [picture(number) for number in range(3)])
        assert meta["axis_labels"] == ("file", "y", "x")
        assert meta["name"] == "0 and 2 more"
    ((data, meta, _),) = get_reader(files[:1])(files[:1])
    assert data.shape == (20, 30)


def test_what_makes_no_stack_is_refused_in_words(tmp_path):
    one = tiff(tmp_path / "a.ome.tif")
    for name, other in (
        ("shape", picture(shape=(20, 31))),
        ("dtype", picture(dtype=np.uint8)),
    ):
        paths = [one, tiff(tmp_path / f"{name}.ome.tif", other)]
        with pytest.raises(ImageFileError, match=f"'a' and '{name}' cannot be one stack.*{name}"):
            get_reader(paths)(paths)
    paths = [one, cut_short(tmp_path / "cut.ome.tif")]
    with pytest.raises(ImageFileError, match="cut short"):
        get_reader(paths)(paths)


def test_a_stack_of_different_pixel_sizes_has_none(tmp_path, said):
    paths = []
    for number in (1, 2):
        paths.append(str(tmp_path / f"{number}.ome.tif"))
        facts = {f"PhysicalSize{a}{k}": v for a in "XY" for k, v in (("", number), ("Unit", "µm"))}
        tifffile.imwrite(paths[-1], picture(), metadata={"axes": "YX", **facts})
    ((_, meta, _),) = get_reader(paths)(paths)
    assert meta["scale"] == (1, 1, 1)
    assert "pixel size left out, in which the files differ" in said()[-1]
    ((_, meta, _),) = get_reader(paths[:1] * 2)(paths[:1] * 2)
    assert meta["scale"] == (1, 1, 1)
    assert str(meta["units"][1]) == "micrometer"


def written(path, data=None, axes="YX", **facts):
    data = picture(dtype=np.float32) if data is None else data
    write_image(Image(data=data, axes=axes, **facts), path)
    return str(path)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (({"spacing": {"Y": 2.0, "X": 2.0}}, {"spacing": {"Y": 9.0, "X": 9.0}}), "spacing"),
        (({"nodata": 0.0}, {"nodata": np.nan}), "nodata"),
        (({"nodata": np.nan}, {"nodata": 0.0}), "nodata"),
        (({"metadata": {"description": "a"}}, {}), "other metadata"),
    ],
)
def test_what_files_of_a_stack_differ_in_is_left_out(tmp_path, said, facts, words):
    paths = [written(tmp_path / f"{n}.tif", **own) for n, own in enumerate(facts)]
    ((_, meta, _),) = get_reader(paths)(paths)
    assert meta["scale"] == (1, 1, 1)
    assert "values" not in meta["metadata"]
    assert "description" not in meta["metadata"]["image"]
    assert f"{words} left out, in which the files differ" in said()[-1]


def test_what_files_of_a_stack_agree_in_is_kept(tmp_path, said):
    facts = {"nodata": np.nan, "metadata": {"description": "a"}}
    paths = [written(tmp_path / f"{number}.tif", **facts) for number in range(2)]
    ((_, meta, _),) = get_reader(paths)(paths)
    assert np.isnan(meta["metadata"]["values"]["nodata"])
    assert meta["metadata"]["image"]["description"] == "a"
    assert not said()


def test_a_place_is_left_out_with_the_unit_it_is_in():
    places = [
        [Image(data=picture(), axes="YX", pixel_size={"X": size}, origin={"X": 5.0})]
        for size in (1.0, 2.0)
    ]
    assert not stacked(places)[0].origin


def test_colours_of_a_stack_are_what_each_file_has(tmp_path):
    rgba = picture(shape=(20, 30, 4), dtype=np.uint8)
    paths = [
        written(tmp_path / f"{alpha}.tif", rgba, "YXS", alpha=alpha)
        for alpha in ("straight", "premultiplied", "none")
    ]
    ((data, _, _),) = get_reader(paths[:2])(paths[:2])
    for one, path in zip(data, paths):
        np.testing.assert_array_equal(one, read(path)[0].data)
    with pytest.raises(ImageFileError, match="their alpha differ, straight and none"):
        get_reader(paths[1:])(paths[1:])


def test_a_plate_and_a_well_open_their_images(plate, monkeypatch):
    layers = read(plate)
    assert [layer.name for layer in layers] == [
        "plate A/1/0", "plate A/1/1", "plate A/2/0", "plate A/2/1",
    ]  # fmt: skip
    np.testing.assert_array_equal(layers[3].data, picture(3))
    assert len(read(f"{plate}/A/2")) == 2
    monkeypatch.setattr(reader, "MOST_LAYERS", 3)
    with pytest.raises(ImageFileError, match=r"plate of 4 images.*such as plate\.zarr/A/1/0"):
        read_layers(plate)


def test_a_large_folder_becomes_a_stack_if_it_can(tmp_path, monkeypatch, said):
    monkeypatch.setattr(reader, "MOST_LAYERS", 2)
    for number in range(3):
        tiff(tmp_path / "f" / f"{number}.tif")
    (layer,) = read(str(tmp_path / "f"))
    assert layer.data.shape == (3, 20, 30)
    assert "3 images are opened as one stack" in said()[-1]
    tiff(tmp_path / "f" / "other.tif", picture(shape=(9, 9)))
    with pytest.raises(ImageFileError, match=r"too many layers.*cannot be one stack"):
        read_layers(str(tmp_path / "f"))


def test_a_plate_that_leads_elsewhere_is_refused(plate):
    wells = [{"path": "../../elsewhere"}]
    zarr.open_group(plate).attrs["ome"] = {"version": "0.5", "plate": {"wells": wells}}
    with pytest.raises(ImageFileError, match="another folder"):
        read_layers(plate)


def test_what_is_recognised_and_cannot_be_read_says_why(tmp_path):
    zarr.open(tmp_path / "plain.zarr", mode="w", shape=(9, 9), dtype="u2", chunks=(9, 9))
    (tmp_path / "empty.zarr").mkdir()
    (tmp_path / "empty.ome.tif").touch()
    (tmp_path / "text.ome.tif").write_text("a text")
    cut_short(tmp_path / "cut.ome.tif")
    for name, reason in {
        "plain.zarr": "without OME metadata",
        "empty.zarr": "without Zarr metadata",
        "empty.ome.tif": "is empty",
        "text.ome.tif": "begins with",
        "cut.ome.tif": "cut short",
    }.items():
        path = str(tmp_path / name)
        with pytest.raises(ImageFileError, match=reason):
            get_reader(path)(path)


def test_of_a_folder_the_bad_ones_are_named_together(tmp_path, said):
    tiff(tmp_path / "f" / "a.tif")
    cut_short(tmp_path / "f" / "b.tif")
    cut_short(tmp_path / "f" / "c.tif")
    tiff(tmp_path / "f" / "d.tif")
    assert [layer.name for layer in read(str(tmp_path / "f"))] == ["a", "d"]
    assert "2 of 4 cannot be opened" in said()[-1]
    assert "b.tif" in said()[-1]
    assert "c.tif" in said()[-1]


def test_names_do_nothing_but_show_themselves(tmp_path, said):
    folder = tmp_path / "a\x1b[2Jb"
    folder.mkdir()
    tifffile.imwrite(folder / "good\n.tif", np.zeros((20, 30), np.uint8))
    (folder / "bad\x1b.tif").write_bytes(b"II*\0 cut")
    ((data, meta, _),) = get_reader(str(folder))(str(folder))
    write_ome_tiff(str(tmp_path / "b.ome.tif"), [(data, {**meta, "rotate": 9.0}, "image")])
    assert said()
    assert all(line.isprintable() for text in said() for line in text.split("\n"))


def test_label_images_come_as_labels_beside_their_image(tmp_path):
    numbers = picture(1) // 50
    field(tmp_path / "a.zarr", picture())
    field(tmp_path / "cells.zarr", numbers)
    inner = zarr.open_group(tmp_path / "cells.zarr")
    inner.attrs["ome"] = {**inner.attrs["ome"], "image-label": {"version": "0.5"}}
    labels = zarr.open_group(tmp_path / "a.zarr" / "labels", mode="w")
    labels.attrs["ome"] = {"version": "0.5", "labels": ["cells"]}
    (tmp_path / "cells.zarr").rename(tmp_path / "a.zarr" / "labels" / "cells")
    image, labels = read(str(tmp_path / "a.zarr"))
    assert image._type_string == "image"
    assert (labels._type_string, labels.name) == ("labels", "a cells")
    np.testing.assert_array_equal(labels.data, numbers)


def test_numbers_of_objects_are_a_labels_layer():
    image = Image(data=picture(), axes="YX", labels=True, pixel_size={"Y": 0.5, "X": 0.5})
    ((data, meta, kind),) = layer_data([image])
    layer = Layer.create(data, meta, kind)
    assert layer._type_string == "labels"
    np.testing.assert_array_equal(layer.scale, 0.5)


def test_what_the_file_says_of_values_is_kept_in_the_layer():
    image = Image(data=picture(dtype=np.uint8) // 16, axes="YX", nodata=3.0, bits=4)
    ((data, meta, _),) = layer_data([image])
    assert meta["contrast_limits"] == (0, 15)
    again = to_image(*Layer.create(data, meta, "image").as_layer_data_tuple()[:2])
    assert (again.nodata, again.bits) == (3.0, 4)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (("y", "x"), False),
        (("-2", "-1"), False),
        (("t", "z", "y", "x"), False),
        (("x", "y"), True),
        (("z", "x"), True),
        (("y", "z", "x"), True),
        (("Row", "Column"), False),
    ],
)
def test_axis_labels_that_contradict_are_told(labels, told):
    assert bool(contradiction(labels)) is told
    shape = (4,) * len(labels)
    layer = Layer.create(np.zeros(shape), {"axis_labels": labels}, "image")
    assert bool(to_image(*layer.as_layer_data_tuple()[:2]).notes) is told


def test_the_menu_opens_every_chosen_file(viewer, tmp_path, monkeypatch, said):
    files = [
        tiff(tmp_path / "a.tif"),
        cut_short(tmp_path / "b.ome.tif"),
        tiff(tmp_path / "c.tif"),
        cut_short(tmp_path / "d.tif"),
    ]
    monkeypatch.setattr(commands.QFileDialog, "getOpenFileNames", lambda *_: (files, ""))
    commands.open_file(viewer)
    assert [layer.name for layer in viewer.layers] == ["a", "c"]
    assert [layer.source.path for layer in viewer.layers] == [files[0], files[2]]
    assert {layer.source.reader_plugin for layer in viewer.layers} == {"napari-vdsr"}
    assert "b.ome.tif" in said()[-1]
    assert "d.tif" in said()[-1]


def test_the_menu_opens_a_plate(viewer, plate, monkeypatch):
    monkeypatch.setattr(commands.QFileDialog, "getExistingDirectory", lambda *_: plate)
    commands.open_folder(viewer)
    assert len(viewer.layers) == 4
    assert viewer.layers[0].source.path == plate
    monkeypatch.setattr(commands.QFileDialog, "getExistingDirectory", lambda *_: "")
    commands.open_folder(viewer)
    assert len(viewer.layers) == 4


def test_napari_opens_folder_stack_and_plate(viewer, plate, tmp_path):
    files = [tiff(tmp_path / "f" / f"{number}.ome.tif") for number in range(2)]
    assert len(viewer.open(str(tmp_path / "f"), plugin="napari-vdsr")) == 2
    (stack,) = viewer.open(files, stack=True, plugin="napari-vdsr")
    assert stack.data.shape == (2, 20, 30)
    assert stack.source.path == files[0]
    assert len(viewer.open(plate, plugin="napari-vdsr")) == 4
    with pytest.raises(ImageFileError, match="cut short"):
        viewer.open(cut_short(tmp_path / "cut.ome.tif"), plugin="napari-vdsr")


def test_all_images_of_a_file(viewer, tmp_path, monkeypatch, said):
    path = str(tmp_path / "two.ome.tif")
    with tifffile.TiffWriter(path, ome=True) as tiff_file:
        for number, shape in enumerate(((20, 30), (40, 30))):
            data = picture(number, shape)
            tiff_file.write(data, metadata={"axes": "YX", "Name": f"n{number}"})
    monkeypatch.setattr(commands.QFileDialog, "getOpenFileNames", lambda *_: ([path], ""))
    commands.open_file(viewer)
    assert len(viewer.layers) == 1
    assert "holds 2 images" in said()[-1]
    assert "Open all images of a file" in said()[-1]
    assert "--" not in said()[-1]
    viewer.layers.clear()
    commands.open_all_images(viewer)
    assert [layer.data.shape for layer in viewer.layers] == [(20, 30), (40, 30)]
    assert len({layer.name for layer in viewer.layers}) == 2


def test_what_is_there_of_a_damaged_file(viewer, tmp_path, monkeypatch, said):
    path = tmp_path / "cut.tif"
    stack = np.stack([picture(number, (100, 120)) for number in range(4)])
    for plane in stack:
        tifffile.imwrite(path, plane, append=True, metadata=None)
    path.write_bytes(path.read_bytes()[:-15_000])
    monkeypatch.setattr(commands.QFileDialog, "getOpenFileNames", lambda *_: ([str(path)], ""))
    commands.open_file(viewer)
    assert len(viewer.layers) == 0
    assert "Open what is there of a damaged image" in said()[-1]
    assert "--" not in said()[-1]
    commands.open_damaged(viewer)
    (layer,) = viewer.layers
    np.testing.assert_array_equal(np.asarray(layer.data), stack[: len(layer.data)])
    assert said()
