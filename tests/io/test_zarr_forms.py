"""OME-Zarr in its versions and layouts: written so that others read it, read as others write it."""

import json

import dask.array as da
import numpy as np
import pytest
import zarr

from napari_vdsr.batch import Settings, plan, run
from napari_vdsr.errors import UsageError
from napari_vdsr.image import Channel, Image
from napari_vdsr.io import ZarrForm, read_image, read_levels, write_image
from napari_vdsr.model.file import load_model
from napari_vdsr.options import Options

BICUBIC = load_model("bicubic")
FORMS = [
    (ZarrForm(), None),
    (ZarrForm("0.4"), None),
    (ZarrForm("0.4"), "zlib"),
    (ZarrForm("0.4"), "blosc"),
    (ZarrForm(shards=1024), None),
    (ZarrForm(shards=1024), "blosc"),
    (ZarrForm(), "zlib"),
]


def picture(shape=(2, 1040, 600)):
    data = np.random.default_rng(0).integers(0, 4000, shape).astype(np.uint16)
    return Image(
        data=data,
        axes="CYX",
        pixel_size={"Y": 0.5, "X": 0.25},
        origin={"X": 3.0},
        channels=(Channel(name="a", color=0xFF0000, contrast=(1, 9)), Channel(name="b", color=255)),
    )


@pytest.mark.slow
@pytest.mark.parametrize(("form", "compression"), FORMS)
@pytest.mark.parametrize("lazy", [False, True])
def test_every_form_is_read_again_with_all_levels(tmp_path, form, compression, lazy):
    image = picture()
    data = da.from_array(image.data, chunks=(1, 512, 512)) if lazy else image.data
    path = tmp_path / "a.ome.zarr"
    write_image(image.with_(data=data), path, zarr=form, compression=compression)
    levels = read_levels(path)
    assert np.array_equal(levels[0].data.compute(), image.data)
    assert [level.shape[1:] for level in levels] == [(1040, 600), (520, 300), (260, 150)]
    expected = levels[0].data.compute().reshape(2, 520, 2, 300, 2).astype(int).sum((2, 4))
    assert np.array_equal(levels[1].data.compute(), (expected + 2) // 4)
    made = levels[0]
    assert (made.pixel_size, made.origin["X"]) == (image.pixel_size, 3.0)
    assert made.channels == image.channels
    group = zarr.open_group(path, mode="r")
    assert group.metadata.zarr_format == (2 if form.version == "0.4" else 3)
    assert group["0"].shards == (None if form.shards is None else (1, 1024, 1024))
    assert group["0"].chunks == (1, 512, 512)


@pytest.mark.parametrize("form", [ZarrForm(), ZarrForm("0.4"), ZarrForm(shards=512)])
def test_others_take_it_for_what_it_is(tmp_path, form):
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    write_image(picture(), tmp_path / "a.ome.zarr", zarr=form)
    (node,) = Reader(parse_url(str(tmp_path / "a.ome.zarr")))()
    assert [level.shape for level in node.data] == [(2, 1040, 600), (2, 520, 300), (2, 260, 150)]
    assert node.metadata["channel_names"] == ["a", "b"] or node.metadata["name"] == ["a", "b"]


@pytest.mark.parametrize(
    ("version", "shards", "says"),
    [("0.3", None, "0.4 and 0.5|0.5 and 0.4"), ("0.4", 512, "no shards"), ("0.5", 700, "of 512")],
)
def test_forms_that_there_are_not(version, shards, says):
    with pytest.raises(UsageError, match=says):
        ZarrForm(version, shards)


def test_other_formats_have_no_blosc(tmp_path):
    with pytest.raises(UsageError, match="no blosc"):
        write_image(picture(), tmp_path / "a.ome.tif", compression="blosc")


def tree(folder):
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


@pytest.mark.slow
@pytest.mark.parametrize("form", [ZarrForm("0.4"), ZarrForm(shards=1024)])
def test_parts_fill_whole_files(tmp_path, form):
    from napari_vdsr.batch import Part, find_unfinished, finish

    write_image(picture((2, 600, 700)), tmp_path / "in.ome.zarr")
    settings = Settings(model=BICUBIC, options=Options(tile=512), workers=2, zarr=form)
    run(plan([str(tmp_path / "in.ome.zarr")], tmp_path / "whole"), settings)
    jobs = plan([str(tmp_path / "in.ome.zarr")], tmp_path / "out")
    for number in (3, 1, 2):
        (result,) = run(jobs, settings, part=Part(number, 3))
        assert result.status == "part done", result.reason
    assert finish(*find_unfinished(tmp_path / "out")).status == "done"
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    made = read_image(tmp_path / "out/in.ome.zarr")
    assert made.shape == (2, 1200, 1400)
    (again,) = run(jobs, Settings(model=BICUBIC, options=Options(tile=512)))
    assert again.status == "failed"  # it was made in another form


AXES = [
    {"name": "t", "type": "time", "unit": "millisecond"},
    {"name": "y", "type": "space", "unit": "micrometer"},
    {"name": "x", "type": "space", "unit": "micrometer"},
]


def newest(path, steps, systems=None, **more):
    group = zarr.create_group(path, zarr_format=3)
    group.create_array("s0", data=np.arange(2 * 6 * 7, dtype="u2").reshape(2, 6, 7))
    group.create_array("s1", data=np.zeros((2, 3, 4), "u2"))
    systems = systems or [{"name": "intrinsic", "axes": AXES}]
    datasets = [
        {"path": path, "coordinateTransformations": [{**step, "input": {"path": path}}]}
        for path, step in zip(("s0", "s1"), steps, strict=True)
    ]
    described = {"coordinateSystems": systems, "datasets": datasets, **more}
    group.attrs["ome"] = {"version": "0.6", "multiscales": [described]}


def scaled(*factors, to="intrinsic"):
    return {"type": "scale", "scale": list(factors), "output": {"name": to}}


def test_coordinate_systems_give_axes_and_sizes(tmp_path):
    sequence = {
        "type": "sequence",
        "transformations": [
            {"type": "scale", "scale": [100.0, 0.5, 0.25]},
            {"type": "translation", "translation": [0.0, 3.0, 4.0]},
        ],
        "output": {"name": "intrinsic"},
    }
    newest(tmp_path / "a.zarr", [sequence, scaled(100, 1, 0.5)])
    image, small = read_levels(tmp_path / "a.zarr")
    assert (image.axes, image.shape, small.shape) == ("TYX", (2, 6, 7), (2, 3, 4))
    assert image.pixel_size == {"Y": 0.5, "X": 0.25}
    assert image.origin == {"Y": 3.0, "X": 4.0}
    assert image.time_step == pytest.approx(0.1)
    assert image.notes == ()


def test_the_intrinsic_system_counts_and_others_are_told(tmp_path):
    world = {"name": "world", "axes": [{"name": a} for a in "abc"]}
    further = [{**scaled(9, 9, 9, to="world"), "input": {"name": "intrinsic"}}]
    newest(
        tmp_path / "a.zarr",
        [scaled(1, 0.5, 0.5), scaled(1, 1, 1)],
        [world, {"name": "intrinsic", "axes": AXES}],
        coordinateTransformations=further,
    )
    image = read_image(tmp_path / "a.zarr")
    assert image.axes == "TYX"
    assert image.pixel_size == {"Y": 0.5, "X": 0.5}
    assert image.notes == ("placed by its coordinate system intrinsic, not world",)


def test_an_identity_means_pixels_and_what_is_none_of_these_is_told(tmp_path):
    identity = {"type": "identity", "output": {"name": "intrinsic"}}
    newest(tmp_path / "a.zarr", [identity, scaled(1, 2, 2)])
    assert read_image(tmp_path / "a.zarr").pixel_size == {"Y": 1.0, "X": 1.0}
    affine = {"type": "affine", "affine": [[1, 0, 0, 0]] * 3, "output": {"name": "intrinsic"}}
    newest(tmp_path / "b.zarr", [affine, scaled(1, 2, 2)])
    assert (
        "a transformation of its levels (affine) was left out"
        in read_image(tmp_path / "b.zarr").notes
    )


@pytest.mark.parametrize(
    "systems",
    [[], [None], [{"name": "intrinsic"}], [{"axes": 5}], {"a": 1}, [{"name": "q", "axes": []}]],
)
def test_systems_that_say_nothing_are_no_crash(tmp_path, systems):
    newest(tmp_path / "a.zarr", [scaled(1, 1, 1), scaled(1, 2, 2)])
    attributes = json.loads((tmp_path / "a.zarr/zarr.json").read_text())
    attributes["attributes"]["ome"]["multiscales"][0]["coordinateSystems"] = systems
    (tmp_path / "a.zarr/zarr.json").write_text(json.dumps(attributes))
    with pytest.raises(OSError, match=r"a\.zarr"):
        read_image(tmp_path / "a.zarr")


def plate(path, version="0.5", wells=("A/1", "B/2"), fields=("0", "1")):
    """A plate of small images."""
    rows = sorted({well.split("/")[0] for well in wells})
    columns = sorted({well.split("/")[1] for well in wells})
    described = {
        "name": "test",
        "rows": [{"name": name} for name in rows],
        "columns": [{"name": name} for name in columns],
        "wells": [
            {"path": w, "rowIndex": rows.index(w[0]), "columnIndex": columns.index(w[2])}
            for w in wells
        ],
        "field_count": len(fields),
    }
    images = {"images": [{"path": field} for field in fields]}
    old = version == "0.4"
    for folder, attributes in [("", {"plate": described}), *((w, {"well": images}) for w in wells)]:
        group = zarr.open_group(path / folder, mode="a", zarr_format=2 if old else 3)
        group.attrs.update(attributes if old else {"ome": {"version": version, **attributes}})
    for number, (well, field) in enumerate((w, f) for w in wells for f in fields):
        data = np.full((20, 30), number, np.uint16)
        image = Image(data=data, axes="YX", pixel_size={"Y": 0.5, "X": 0.5})
        write_image(image, path / well / field, format="ome-zarr", zarr=ZarrForm(version))
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("written", ["0.4", "0.5"])
def test_a_plate_becomes_a_plate(tmp_path, version, written):
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    source = plate(tmp_path / "in.ome.zarr", version)
    settings = Settings(model=BICUBIC, zarr=ZarrForm(written))
    jobs = plan([str(source)], tmp_path / "out")
    assert [job.target.relative_to(tmp_path / "out").as_posix() for job in jobs] == [
        f"in.ome.zarr/{well}/{field}" for well in ("A/1", "B/2") for field in "01"
    ]
    assert [result.status for result in run(jobs, settings)] == ["done"] * 4
    made = read_image(tmp_path / "out/in.ome.zarr/B/2/1")
    assert (made.shape, made.pixel_size["Y"], int(made.data.max())) == ((40, 60), 0.25, 3)
    nodes = list(Reader(parse_url(str(tmp_path / "out/in.ome.zarr")))())
    assert nodes[0].data[0].shape[-2] >= 80  # both rows of wells
    assert [result.status for result in run(jobs, settings)] == ["already done"] * 4
    again = plan([str(tmp_path / "out/in.ome.zarr")], tmp_path / "more")
    assert len(again) == 4  # it is a plate for us, too


def test_a_well_and_files_of_a_plate(tmp_path):
    source = plate(tmp_path / "in.ome.zarr")
    (result, _) = run(plan([str(source / "A/1")], tmp_path / "out"), Settings(model=BICUBIC))
    assert result.status == "done", result.reason
    assert read_image(tmp_path / "out/1.ome.zarr/0").shape == (40, 60)
    jobs = plan([str(source)], tmp_path / "tiff", format="ome-tiff")
    assert jobs[0].target.name == "in_A_1_0.ome.tif"
    results = run(jobs, Settings(model=BICUBIC, format="ome-tiff"))
    assert [result.status for result in results] == ["done"] * 4


def test_a_plate_whose_images_are_not_there_fails_image_by_image(tmp_path):
    import shutil

    source = plate(tmp_path / "in.ome.zarr")
    shutil.rmtree(source / "A/1/1")
    results = run(plan([str(source)], tmp_path / "out"), Settings(model=BICUBIC))
    assert [result.status for result in results] == ["done", "failed", "done", "done"]


def zipped(folder, path, compress=False, top=""):
    import zipfile

    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*"), key=lambda p: (p.name != "zarr.json", str(p))):
            if file.is_file():
                archive.write(file, top + file.relative_to(folder).as_posix())
    return path


@pytest.mark.slow
@pytest.mark.parametrize("form", [ZarrForm(), ZarrForm("0.4"), ZarrForm(shards=1024)])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("top", ["", "a.ome.zarr/"])
def test_one_file_is_read_like_its_folder(tmp_path, form, compress, top):
    import pickle

    write_image(picture(), tmp_path / "a.ome.zarr", zarr=form)
    path = zipped(tmp_path / "a.ome.zarr", tmp_path / "a.ozx", compress, top)
    levels, folder = read_levels(path), read_levels(tmp_path / "a.ome.zarr")
    for level, same in zip(levels, folder, strict=True):
        assert np.array_equal(level.data.compute(), same.data.compute())
    image = levels[0]
    assert (image.channels, image.pixel_size) == (folder[0].channels, folder[0].pixel_size)
    assert image.files == (str(path),)
    copy = pickle.loads(pickle.dumps(image.data))
    assert np.array_equal(copy[:, :5].compute(), image.data[:, :5].compute())


def test_a_batch_makes_a_folder_of_it(tmp_path):
    write_image(picture((2, 60, 70)), tmp_path / "a.ome.zarr")
    zipped(tmp_path / "a.ome.zarr", tmp_path / "in.ozx")
    jobs = plan([str(tmp_path / "in.ozx")], tmp_path / "out")
    (result,) = run(jobs, Settings(model=BICUBIC))
    assert result.status == "done", result.reason
    assert read_image(tmp_path / "out/in.ome.zarr").shape == (2, 120, 140)
    assert run(jobs, Settings(model=BICUBIC))[0].status == "already done"


class TestHostileArchives:
    @pytest.fixture
    def archive(self, tmp_path):
        write_image(picture((2, 600, 700)), tmp_path / "a.ome.zarr")
        return zipped(tmp_path / "a.ome.zarr", tmp_path / "a.ozx", compress=True)

    def test_a_change_is_noticed(self, archive):
        image = read_image(archive)
        archive.write_bytes(archive.read_bytes() + b"\0")
        with pytest.raises(OSError, match="changed while it was being read"):
            image.data.compute()

    @pytest.mark.parametrize("cut", [0.1, 0.5, 0.99])
    def test_cut_off(self, archive, cut):
        content = archive.read_bytes()
        archive.write_bytes(content[: int(len(content) * cut)])
        with pytest.raises(OSError, match="no readable ZIP archive"):
            read_image(archive)

    def test_damaged_bytes_are_no_pixels(self, archive):
        content = bytearray(archive.read_bytes())
        for at in range(len(content) // 3, len(content) // 2, 97):
            content[at] ^= 0x55
        archive.write_bytes(content)
        with pytest.raises(OSError, match=r"a\.ozx"):
            read_image(archive).data.compute()

    @pytest.mark.parametrize("compress", [True, False])
    def test_a_changed_pixel_is_noticed(self, tmp_path, compress):
        import zipfile

        write_image(picture((1, 60, 70)), tmp_path / "a.ome.zarr")
        path = zipped(tmp_path / "a.ome.zarr", tmp_path / "a.ozx", compress=compress)
        with zipfile.ZipFile(path) as archive:
            (pixels,) = [one for one in archive.infolist() if one.filename.startswith("0/c/")]
        content = bytearray(path.read_bytes())
        content[pixels.header_offset + 30 + len(pixels.filename) + pixels.compress_size // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(OSError, match=r"does not match its checksum|cannot be unpacked"):
            read_image(path).data.compute()

    @pytest.mark.parametrize(
        ("at", "value", "what"),
        [
            (8, b"\1\0", "encrypted"), (10, b"\x0e\0", "packed in a way that is not known"),
            (24, b"\1\0\0\0", "does not match its checksum"), (16, b"\0\0\0\0", "checksum"),
            (42, b"\2\0\0\0", "leads to no file"), (24, b"\0\0\0\x40", "metadata never has"),
        ],
    )  # fmt: skip
    def test_a_directory_that_is_not_true(self, archive, at, value, what):
        """Of the first file's entry in it: flags, method, size, checksum, place."""
        content = bytearray(archive.read_bytes())
        start = content.index(b"PK\1\2")
        content[start + at : start + at + len(value)] = value
        archive.write_bytes(content)
        with pytest.raises(OSError, match=what):
            read_image(archive).data.compute()

    def test_a_bomb(self, tmp_path):
        import zipfile

        write_image(picture((2, 60, 70)), tmp_path / "a.ome.zarr")
        path = zipped(tmp_path / "a.ome.zarr", tmp_path / "a.ozx")
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("0/c/9/9/9", b"\0" * 2**27)
        with pytest.raises(OSError, match="larger than their pixels"):
            read_image(path)

    @pytest.mark.parametrize("names", [["b.txt"], ["a/zarr.json", "b/zarr.json"], []])
    def test_what_is_no_zarr(self, tmp_path, names):
        import zipfile

        with zipfile.ZipFile(tmp_path / "a.ozx", "w") as archive:
            for name in names:
                archive.writestr(name, "{}")
        with pytest.raises(OSError, match=r"a\.ozx"):
            read_image(tmp_path / "a.ozx")
