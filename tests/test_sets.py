"""One job for each image: sets of files, files of several images."""

import json
import os
import time

import numpy as np
import pytest
import tifffile
import zarr

from napari_vdsr.batch import Settings, plan, run
from napari_vdsr.errors import UsageError
from napari_vdsr.io import list_series, read_image
from napari_vdsr.io.tiff.sets import SetFinder
from napari_vdsr.model.file import load_model

RANDOM = np.random.default_rng(0)
HEAD = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'


def settings(**changes):
    return Settings(model=load_model("bicubic"), **changes)


def write(path, data, description=None):
    tifffile.imwrite(path, data, photometric="minisblack", metadata=None, description=description)


def time_series(folder, frames=4, prefix="cell", binary_only=False):
    """One series with a frame in each file."""
    folder.mkdir(parents=True, exist_ok=True)
    data = np.stack([np.full((12, 10), 100 * (t + 1), "u2") for t in range(frames)])
    listed = "".join(
        f'<TiffData FirstT="{t}" IFD="0" PlaneCount="1"><UUID FileName="{prefix}_T{t}.ome.tif">'
        f"urn:uuid:{t}</UUID></TiffData>"
        for t in range(frames)
    )
    for t in range(frames):
        xml = (
            f'{HEAD} UUID="urn:uuid:{t}"><Image ID="Image:0"><Pixels ID="P:0" '
            'DimensionOrder="XYZCT" Type="uint16" SizeX="10" SizeY="12" SizeZ="1" SizeC="1" '
            f'SizeT="{frames}">{listed}'
            "</Pixels></Image></OME>"
        )
        if binary_only and t:
            xml = (
                f'{HEAD} UUID="urn:uuid:{t}"><BinaryOnly MetadataFile="{prefix}_T0.ome.tif"/></OME>'
            )
        write(folder / f"{prefix}_T{t}.ome.tif", data[t], xml)
    return data


def movie(path):
    """A reference page, then frames of another size."""
    with tifffile.TiffWriter(path) as tif:
        tif.write(np.full((8, 9), 7, "u1"), metadata=None)
        for t in range(3):
            tif.write(np.full((12, 10), 100 * (t + 1), "u2"), metadata=None)


@pytest.mark.parametrize("binary_only", [False, True])
def test_the_files_of_a_set_are_one_job_named_as_the_first(tmp_path, binary_only):
    data = time_series(tmp_path / "set", binary_only=binary_only)
    for inputs in ("set", "set/*T[12].ome.tif", "set/cell_T2.ome.tif"):
        jobs = plan([str(tmp_path / inputs)], tmp_path / "out")
        assert [job.source.name for job in jobs] == ["cell_T0.ome.tif"]
        assert jobs[0].target == tmp_path / "out" / "cell_T0.ome.tif"
    (result,) = run(jobs, settings(), report=tmp_path / "r.json")
    assert result.status == "done"
    assert "4 files make up this image" in result.notes
    assert read_image(jobs[0].target).shape == (4, 24, 20)
    assert np.asarray(read_image(jobs[0].target).data).mean() == pytest.approx(data.mean())
    (told,) = json.loads((tmp_path / "r.json").read_text("utf-8"))["files"]
    assert [os.path.basename(file) for file in told["files"]] == [
        f"cell_T{t}.ome.tif" for t in range(4)
    ]


def test_a_changed_member_is_noticed(tmp_path):
    time_series(tmp_path / "set")
    jobs = plan([str(tmp_path / "set" / "cell_T0.ome.tif")], tmp_path / "out")
    assert run(jobs, settings())[0].status == "done"
    assert run(jobs, settings())[0].status == "already done"
    member = tmp_path / "set" / "cell_T2.ome.tif"
    with tifffile.TiffFile(member) as tif:
        text = tif.pages.first.description
    write(member, np.full((12, 10), 60000, "u2"), text)
    assert run(jobs, settings())[0].status == "failed"
    assert run(jobs, settings(if_exists="overwrite"))[0].status == "done"
    assert np.asarray(read_image(jobs[0].target).data)[2].mean() == 60000


def test_an_incomplete_set_fails_once_and_may_be_read_in_part(tmp_path):
    time_series(tmp_path / "set")
    (tmp_path / "set" / "cell_T3.ome.tif").unlink()
    jobs = plan([str(tmp_path / "set")], tmp_path / "out")
    (result,) = run(jobs, settings())
    assert result.status == "failed"
    assert "1 of 4 planes are missing: T3" in result.reason
    (result,) = run(jobs, settings(partial=True))
    assert result.status == "done"
    assert result.shape == [3, 12, 10]
    assert "T3" in "; ".join(result.notes)
    assert run(jobs, settings(partial=True))[0].status == "already done"


def test_two_sets_in_a_folder_are_two_jobs(tmp_path):
    time_series(tmp_path / "set", prefix="a")
    time_series(tmp_path / "set", prefix="b")
    jobs = plan([str(tmp_path / "set")], tmp_path / "out")
    assert [job.source.name for job in jobs] == ["a_T0.ome.tif", "b_T0.ome.tif"]


def test_all_images_of_a_file_are_jobs_with_names_of_their_own(tmp_path):
    movie(tmp_path / "movie.tif")
    jobs = plan([str(tmp_path / "movie.tif")], tmp_path / "out", series="all")
    assert [(job.series, job.target.name) for job in jobs] == [
        (0, "movie_series0.tif"), (1, "movie.tif"),
    ]  # fmt: skip
    results = run(jobs, settings(series="all"))
    assert [result.shape for result in results] == [[8, 9], [3, 12, 10]]
    # What else there is has a line of its own: nobody is told how to ask for it.
    assert [result.notes[0] for result in results] == ["series 0 of 0 to 1", "series 1 of 0 to 1"]
    assert not any("another one" in note for result in results for note in result.notes)
    # The main image is the same with and without the others.
    again = run(plan([str(tmp_path / "movie.tif")], tmp_path / "out"), settings())
    assert [result.status for result in again] == ["already done"]


def test_templates_may_hold_the_number(tmp_path):
    movie(tmp_path / "movie.tif")
    inputs = [str(tmp_path / "movie.tif")]
    names = {
        series: [job.target.name for job in plan(
            inputs, tmp_path / "out", series=series, template="{stem}-{series}"
        )]
        for series in (None, 0, "all")
    }  # fmt: skip
    assert names == {
        None: ["movie-1.tif"], 0: ["movie-0.tif"], "all": ["movie-0.tif", "movie-1.tif"],
    }  # fmt: skip


def test_names_that_would_meet_are_refused_before_work(tmp_path):
    movie(tmp_path / "movie.tif")
    movie(tmp_path / "movie_series0.tif")
    inputs = [str(tmp_path / "movie.tif"), str(tmp_path / "movie_series0.tif")]
    with pytest.raises(UsageError, match="would both become"):
        plan(inputs, tmp_path / "out", series="all")


def test_a_number_that_is_not_there_fails_with_what_there_is(tmp_path):
    movie(tmp_path / "movie.tif")
    jobs = plan([str(tmp_path / "movie.tif")], tmp_path / "out", series=4)
    (result,) = run(jobs, settings(series=4))
    assert "0 to 1, not 4. It holds 2 images (series): 0 (Y8 X9)" in result.reason


def test_a_file_that_cannot_be_read_is_still_a_job(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0nothing")
    jobs = plan([str(tmp_path / "a.tif")], tmp_path / "out", series="all")
    assert [result.status for result in run(jobs, settings(series="all"))] == ["failed"]


def test_images_are_listed(tmp_path):
    movie(tmp_path / "movie.tif")
    first, second = list_series(tmp_path / "movie.tif")
    assert (first.axes, first.shape, first.dtype, first.main) == ("YX", (8, 9), "uint8", False)
    assert (second.axes, second.shape, second.dtype) == ("TYX", (3, 12, 10), "uint16")
    assert second.main
    assert second.files == (str(tmp_path / "movie.tif"),)


def test_images_of_an_ome_zarr_folder(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    for index, size in enumerate((8, 16, 12)):
        inner = group.create_group(str(index))
        inner.attrs["multiscales"] = [{
            "version": "0.4", "datasets": [{"path": "0"}],
            "axes": [{"name": n, "type": "space"} for n in "yx"],
        }]  # fmt: skip
        inner.create_array("0", data=np.full((size, size), index, "u1"))
    image = read_image(tmp_path / "a.zarr")
    assert image.shape == (16, 16)
    assert "0 (Y8 X8), 1 (Y16 X16), 2 (Y12 X12); series 1 was read" in "; ".join(image.notes)
    assert np.asarray(read_image(tmp_path / "a.zarr", series=2).data).mean() == 2
    assert [one.main for one in list_series(tmp_path / "a.zarr")] == [False, True, False]
    with pytest.raises(UsageError, match="0 to 2, not 3"):
        read_image(tmp_path / "a.zarr", series=3)
    jobs = plan([str(tmp_path / "a.zarr")], tmp_path / "out", series="all")
    assert len(jobs) == 3


@pytest.mark.slow
@pytest.mark.soon(20)
def test_thousands_of_files_are_planned_in_seconds(tmp_path):
    plain = tmp_path / "in" / "f.tif"
    plain.parent.mkdir()
    tifffile.imwrite(plain, np.zeros((4, 4), "u1"), description="x")
    content = plain.read_bytes()
    for i in range(3000):
        (tmp_path / "in" / f"f{i}.tif").write_bytes(content)
    started = time.process_time()
    assert len(plan([str(tmp_path / "in")], tmp_path / "out")) == 3001
    assert time.process_time() - started < 10


def test_the_document_of_a_set_is_parsed_once(tmp_path, monkeypatch):
    time_series(tmp_path / "set", frames=20)
    parsed = []
    from napari_vdsr.io.tiff import ome_document as omexml

    parse = omexml.parse
    monkeypatch.setattr(
        omexml, "parse", lambda path, text: parsed.append(path) or parse(path, text)
    )
    finder = SetFinder()
    keys = {finder.wanted(path, None)[0].key for path in sorted((tmp_path / "set").iterdir())}
    assert len(keys) == 1
    assert len(parsed) == 1
