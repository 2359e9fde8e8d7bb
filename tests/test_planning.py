"""Which files a batch takes, what it passes over, and where results go."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from napari_vdsr.batch import Settings, plan, planning, run, summarised
from napari_vdsr.errors import UsageError
from napari_vdsr.image import Image
from napari_vdsr.io import read_image, write_image
from napari_vdsr.model.file import load_model

MAC = b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(100)


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.zeros((4, 4), "u1"))
    return path


@pytest.fixture
def plates(tmp_path, monkeypatch):
    for name in ("plate1/A01", "plate1/A02", "plate2/A01", "plate2/B01"):
        picture(tmp_path / f"{name}.ome.tif")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def targets(inputs, **options):
    return [job.target.as_posix() for job in plan(inputs, Path("out"), **options)]


MIRRORED = [
    "out/plate1/A01.ome.tif", "out/plate1/A02.ome.tif",
    "out/plate2/A01.ome.tif", "out/plate2/B01.ome.tif",
]  # fmt: skip


@pytest.mark.parametrize(
    "inputs",
    [
        ["plate*/*.ome.tif"],
        ["./plate*/*.ome.tif"],
        ["**/*.tif"],
        ["plate*"],
        ["plate1", "plate2"],
        ["plate1/A01.ome.tif", "plate1/A02.ome.tif", "plate2/A01.ome.tif", "plate2/B01.ome.tif"],
        ["plate1/*", "plate2"],
    ],
)
def test_the_part_of_the_tree_that_differs_is_mirrored(plates, inputs):
    assert targets(inputs) == MIRRORED
    assert targets([str(plates / text) for text in inputs]) == MIRRORED


def test_one_folder_stays_flat(plates):
    flat = ["out/A01.ome.tif", "out/A02.ome.tif"]
    for inputs in (["plate1"], ["plate1/*"], ["plate1/A01.ome.tif", "plate1/A02.ome.tif"]):
        assert targets(inputs) == flat
    assert targets(["plate1", "plate2/B01.ome.tif"]) == [*flat, "out/B01.ome.tif"]


def test_patterns_mirror_even_where_no_name_collides(plates):
    (plates / "plate2/A01.ome.tif").unlink()
    assert targets(["plate*/*.ome.tif"]) == [MIRRORED[0], MIRRORED[1], MIRRORED[3]]


def test_the_folder_in_a_name(plates):
    names = ["plate1_A01", "plate1_A02", "plate2_A01", "plate2_B01"]
    wanted = [f"out/{name}.ome.tif" for name in names]
    assert targets(["plate*/*.ome.tif"], template="{parent}_{stem}") == wanted
    assert targets(["plate1", "plate2"], template="{parent}_{stem}") == wanted
    assert targets(["plate1/A01.ome.tif"], template="{parent}") == ["out/plate1.ome.tif"]
    # Two of plate1 still need a name of their own.
    with pytest.raises(UsageError, match="would both become"):
        targets(["plate*/*.ome.tif"], template="{parent}")


def test_deeper_trees_are_mirrored_below_what_they_share(tmp_path, monkeypatch):
    for name in ("data/p1/raw/a.tif", "data/p2/raw/a.tif", "data/p2/raw/sub/b.tif"):
        picture(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert targets(["data/*/raw/*.tif"]) == ["out/p1/raw/a.tif", "out/p2/raw/a.tif"]
    folders = ["data/p1/raw", "data/p2/raw"]
    wanted = ["out/p1/raw/a.tif", "out/p2/raw/a.tif", "out/p2/raw/sub/b.tif"]
    assert targets(folders, recursive=True) == wanted
    monkeypatch.chdir("data/p1")
    assert targets(["raw", "../p2/raw"]) == wanted[:2]


@pytest.mark.parametrize(
    ("names", "template"),
    [
        (["a.ome.tif", "a.ome.tiff"], "{stem}"),
        (["a.ome.tif", "a.tif"], "{stem}"),
        (["a.tif", "a.tiff", "a.png", "a.ome.tif"], "x_{stem}"),
        (["a.jpg", "a.tif"], "{stem}_{ext}x"),
        (["one/a.tif", "two/a.tif"], "{model}"),
        (["one/a.tif", "two/a.tif", "one/a.png", "two/a.png"], "{stem}"),
    ],
)
def test_the_advice_on_a_collision_works(tmp_path, monkeypatch, names, template):
    for name in names:
        picture(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    try:
        found = targets(names, template=template, format="tiff")
    except UsageError as error:
        advised = str(error).partition("'")[2].partition("'")[0]
        found = targets(names, template=advised, format="tiff")
    assert len(set(found)) == len(names)


def test_a_double_suffix_is_not_written_twice(plates):
    found = targets(["plate1"], template="{stem}_{ext}")
    assert found == ["out/A01_ome-tif.ome.tif", "out/A02_ome-tif.ome.tif"]


@pytest.fixture
def cluttered(tmp_path):
    folder = tmp_path / "in"
    picture(folder / "a.tif")
    for name in ("._a.tif", ".hidden.tif", "Thumbs.db", ".DS_Store", "notes.txt"):
        (folder / name).write_bytes(MAC)
    for name in (".git", "__MACOSX", "@eaDir", "sub"):
        picture(folder / name / "b.tif")
    (folder / "gone.tif").symlink_to("nowhere")
    (folder / "loop.tif").symlink_to("loop.tif")
    (folder / "spreadsheet.gel").write_bytes(b"no gel")
    return folder


def test_what_is_passed_over_is_counted_and_named(cluttered, tmp_path):
    found = plan([str(cluttered)], tmp_path / "out", recursive=True)
    names = [job.source.relative_to(cluttered).as_posix() for job in found]
    assert names == ["a.tif", "sub/b.tif"]
    assert {remark.path.name: remark.text for remark in found.passed} == {
        "._a.tif": "companion file of a Mac",
        ".hidden.tif": "hidden",
        ".DS_Store": "hidden",
        "Thumbs.db": "made by the system",
        "notes.txt": "no image by its name",
        ".git": "hidden folder",
        "__MACOSX": "made by the system",
        "@eaDir": "made by the system",
        "gone.tif": "link that leads nowhere",
        "loop.tif": "link that leads nowhere",
        "spreadsheet.gel": "no TIFF inside",
    }
    assert "2 hidden, " in summarised(found.passed) + ", "
    flat = plan([str(cluttered)], tmp_path / "out")
    assert "1 subfolder, not entered" in summarised(flat.passed)


def test_hidden_files_are_inputs_when_they_are_named(cluttered, tmp_path):
    for name in (".hidden.tif", "._a.tif"):
        (job,) = plan([str(cluttered / name)], tmp_path / "out")
        assert job.source.name == name
    for pattern in (".h*.tif", "._*"):
        (job,) = plan([str(cluttered / pattern)], tmp_path / "out")
        (job,) = plan([str(cluttered)], tmp_path / "out", pattern=pattern)
    for folder in (".git", "__MACOSX", ".g*/*"):
        (job,) = plan([str(cluttered / folder)], tmp_path / "out")
        assert job.source.name == "b.tif"
    everywhere = plan([str(cluttered / "**" / "*")], tmp_path / "out")
    names = [job.source.relative_to(cluttered).as_posix() for job in everywhere]
    assert names == ["a.tif", "sub/b.tif"]


def test_twins_are_told(tmp_path):
    folder = tmp_path / "in"
    real = picture(folder / "m.tif")
    (folder / "b.tif").symlink_to("m.tif")
    os.link(real, folder / "z.tif")
    found = plan([str(folder), str(real)], tmp_path / "out")
    assert [job.source.name for job in found] == ["m.tif", "z.tif"]
    assert [str(remark) for remark in found.passed] == [
        f"{folder / 'b.tif'}: link to another input, {real}"
    ]
    assert summarised(found.linked) == "1 hard link of another input"


def test_only_images_have_suffixes_of_other_programs(tmp_path):
    for suffix in ("ndpi", "scn", "qptiff", "gel", "bif", "flex", "dng"):
        picture(tmp_path / f"a.{suffix}")
    found = plan([str(tmp_path)], tmp_path / "out", template="{stem}_{ext}")
    assert len(found) == 7
    assert all(job.target.suffix == ".tif" for job in found)


def test_a_pattern_does_not_take_the_arrays_of_an_ome_zarr_folder(tmp_path):

    picture(tmp_path / "in/x/a.tif")
    write_image(Image(data=np.zeros((8, 8), "u1"), axes="YX"), tmp_path / "in/b.ome.zarr")
    for text in ("**", "**/*", "*", "*/*"):
        found = plan([str(tmp_path / "in" / text)], tmp_path / "out", recursive=True)
        assert not any("b.ome.zarr" in map(str, job.source.parent.parts) for job in found)


def test_results_in_a_folder_that_a_pattern_matches_are_no_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "a.tif")
    picture(tmp_path / "out/a.tif")
    found = plan(["**/*.tif"], Path("out"))
    assert [job.source.as_posix() for job in found] == ["a.tif"]
    assert summarised(found.passed) == "1 result in the output folder"


TWINS = {"case": ("A.tif", "a.tif"), "accents": ("\u00e9.tif", "e\u0301.tif")}


def twins(folder, kind):
    """A folder with two files whose names some file systems take for one, and a third."""
    for i, name in enumerate((*TWINS[kind], "other.tif")):
        folder.mkdir(exist_ok=True)
        tifffile.imwrite(folder / name, np.full((8, 8), 10 * i, "u1"))
    if len(list(folder.iterdir())) < 3:
        pytest.skip("this file system takes the two names for one")
    return folder


@pytest.mark.parametrize("kind", TWINS)
def test_twin_names_are_two_files_where_the_system_says_so(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(planning, "sys", SimpleNamespace(platform="linux"))
    jobs = plan([str(twins(tmp_path / "in", kind))], tmp_path / "out")
    assert {r.status for r in run(jobs, Settings(model=load_model("bicubic")))} == {"done"}
    for i, name in enumerate((*TWINS[kind], "other.tif")):
        assert (tifffile.imread(tmp_path / "out" / name) == 10 * i).all()


@pytest.mark.parametrize(
    ("kind", "system", "clash"),
    [("case", "darwin", True), ("case", "win32", True), ("accents", "darwin", True),
     ("accents", "win32", False)],
)  # fmt: skip
def test_twin_names_that_meet_stop_no_others(tmp_path, kind, system, clash, monkeypatch):
    monkeypatch.setattr(planning, "sys", SimpleNamespace(platform=system))
    jobs = plan([str(twins(tmp_path / "in", kind))], tmp_path / "out")
    results = run(jobs, Settings(model=load_model("bicubic")))
    failed = [r for r in results if r.status == "failed"]
    assert [r.status for r in results if "other" in r.source] == ["done"]
    assert len(failed) == 2 * clash
    assert all("would both become" in r.reason and "Rename one" in r.reason for r in failed)


@pytest.mark.parametrize("field", ["{stem:>500}", "{series:03}", "{stem!r}", "{stem:{model}}"])
def test_forms_of_fields_are_refused_as_such(tmp_path, field):
    picture(tmp_path / "a.tif")
    with pytest.raises(UsageError, match=r"asks for a form of .* alone") as caught:
        plan([str(tmp_path)], tmp_path / "out", template=field)
    assert "unknown" not in str(caught.value)


@pytest.mark.parametrize("name", ["a" * 251, "\u00e9" * 125])
def test_a_name_that_is_too_long_fails_before_work(tmp_path, name):
    picture(tmp_path / "in" / f"{name}.tif")
    picture(tmp_path / "in" / "b.tif")
    inputs, settings = [str(tmp_path / "in")], Settings(model=load_model("bicubic"))
    done = run(plan(inputs, tmp_path / "out"), settings)
    assert [r.status for r in done] == ["done", "done"]
    results = run(plan(inputs, tmp_path / "x" / "out", format="ome-zarr"), settings)
    assert {Path(r.source).name[0]: r.status for r in results} == {name[0]: "failed", "b": "done"}
    (failed,) = [r for r in results if r.status == "failed"]
    assert "the file system allows 255. Rename the input" in failed.reason
    assert not failed.shape  # it was not even read


def test_a_folder_within_an_ome_zarr_becomes_one(tmp_path):
    """Labels are declared as such there alone."""
    inner = tmp_path / "a.ome.zarr" / "labels" / "cells"
    inner.parent.mkdir(parents=True)
    image = Image(data=np.ones((8, 9), np.uint16), axes="YX", labels=True)
    write_image(image, inner, format="ome-zarr")
    (job,) = plan([str(inner)], tmp_path / "out")
    assert job.target == tmp_path / "out" / "cells.ome.zarr"
    (result,) = run([job], Settings(model=load_model("bicubic")))
    assert result.status == "done"
    assert not any("objects" in note for note in result.notes)
    assert read_image(job.target).labels


def test_a_batch_beside_its_inputs_goes_on(tmp_path):
    """Results are no inputs of the batch that makes them, and are of another one."""
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.zeros((8, 9), "u1"))
    settings = Settings(model=load_model("bicubic"))
    options = {"template": "{stem}_x{scale}", "scale": 2}
    run(plan([str(tmp_path / "a.tif")], tmp_path, **options), settings)
    again = plan([str(tmp_path)], tmp_path, **options)
    assert [job.source.name for job in again] == ["a.tif", "b.tif"]
    assert [(p.path.name, p.other.name) for p in again.passed] == [("a_x2.tif", "a.tif")]
    assert [result.status for result in run(again, settings)] == ["already done", "done"]
    others = plan([str(tmp_path)], tmp_path, template="{stem}_x{scale}", scale=3)
    assert len(others) == 4
    # A picture of the user's that only has such a name is never passed over, nor replaced.
    tifffile.imwrite(tmp_path / "a_x2.tif", np.ones((8, 9), "u1"))
    with pytest.raises(UsageError, match="is an input and would be overwritten"):
        plan([str(tmp_path)], tmp_path, **options)


@pytest.mark.parametrize("inner", ["", "up", "0/up"])
def test_no_output_lies_within_an_input(tmp_path, inner):
    source = tmp_path / "a.ome.zarr"
    write_image(Image(data=np.zeros((8, 9), "u1"), axes="YX"), source)
    before = sorted(source.rglob("*"))
    for form in ("ome-zarr", "tiff"):
        with pytest.raises(UsageError, match="would lie within the input"):
            plan([str(source)], source / inner, format=form)
    assert sorted(source.rglob("*")) == before
