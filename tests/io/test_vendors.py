"""What the formats of microscope makers and of medicine have in common."""

import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from napari_vdsr.batch import Settings, plan, run
from napari_vdsr.batch.naming import Naming
from napari_vdsr.cli.words import say
from napari_vdsr.errors import MissingExtraError
from napari_vdsr.io import IMAGE_SUFFIXES, is_image_file, read_image
from napari_vdsr.io.listing import no_image_reason
from napari_vdsr.io.vendors import formats
from napari_vdsr.io.vendors.formats import VENDORS, vendor_of
from napari_vdsr.model.file import load_model

ROOT = Path(__file__).parents[2]
HEADS = {
    "CZI": b"ZISRAWFILE" + bytes(500),
    "ND2": b"\xda\xce\xbe\x0a\x20\0\0\0" + bytes(8) + b"ND2 FILE SIGNATURE CHUNK NAME01!Ver3.0",
    "LIF": b"p\0\0\0\x40\0\0\0*\x10\0\0\0" + "<LMSDataContainerHeader>".encode("utf-16-le"),
    "DICOM": bytes(128) + b"DICM" + bytes(50),
    "NIfTI": b"\x5c\x01\0\0" + bytes(340) + b"n+1\0" + bytes(4),
}


@pytest.fixture(params=VENDORS, ids=lambda vendor: vendor.name)
def vendor(request):
    return request.param


def test_each_is_known_by_content_whatever_its_name(vendor):
    assert vendor_of("a.tif", HEADS[vendor.name]) is vendor
    for cut in (0, 4, 12, 30):
        assert vendor_of("a.tif", HEADS[vendor.name][:cut]) in (None, vendor)


def test_each_has_an_extra_of_its_name(vendor):
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    assert extras[vendor.extra]
    assert f"[{vendor.extra}" in extras["vendors"][0] or f",{vendor.extra}" in extras["vendors"][0]


def test_without_the_extra_one_line_says_how_to_get_it(vendor, tmp_path, monkeypatch):
    module = f"napari_vdsr.io.vendors.{vendor.extra}"
    monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / f"a{vendor.suffixes[0]}"
    path.write_bytes(HEADS[vendor.name])
    with pytest.raises(MissingExtraError) as caught:
        read_image(path)
    assert f'run: pip install "napari-vdsr[{vendor.extra}]"' in say(caught.value).lower()
    assert "\n" not in say(caught.value)


def test_what_no_extra_can_bring_is_not_advised(vendor, tmp_path, monkeypatch):
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    (requirement,) = map(Requirement, extras[vendor.extra])
    newest = {"python_version": "3.14"}
    there = requirement.marker is None or requirement.marker.evaluate(newest)
    monkeypatch.setattr(formats.sys, "version_info", (3, 14, 0))
    monkeypatch.setitem(sys.modules, f"napari_vdsr.io.vendors.{vendor.extra}", None)
    with pytest.raises(MissingExtraError) as caught:
        vendor.adapter("a")
    assert ("pip install" in say(caught.value)) == there
    assert ("no release for Python 3.14 yet" in say(caught.value)) != there


def test_in_a_folder_they_fail_one_by_one_and_others_are_done(tmp_path, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    for vendor in VENDORS:
        monkeypatch.setitem(sys.modules, f"napari_vdsr.io.vendors.{vendor.extra}", None)
        (folder / f"{vendor.name}{vendor.suffixes[0]}").write_bytes(HEADS[vendor.name])
    (folder / "z.pgm").write_bytes(b"P5 5 4 255\n" + bytes(20))
    results = run(plan([str(folder)], tmp_path / "out"), Settings(model=load_model("bicubic")))
    assert [result.status for result in results] == ["failed"] * len(VENDORS) + ["done"]
    assert all("which is not installed" in result.reason for result in results[:-1])


def test_suffixes_are_known_and_outputs_are_ome_tiff(vendor):
    for suffix in vendor.suffixes:
        assert suffix in IMAGE_SUFFIXES
        assert is_image_file(f"folder/A{suffix.upper()}")
        assert Naming().name_of(Path(f"A.b{suffix}")) == "A.b.ome.tif"
    assert not is_image_file("a.gz")
    assert not is_image_file(".nii.gz")


def test_headers_of_pairs_are_read_where_they_are_named_alone(tmp_path):
    """Other programs have that suffix for texts beside their images."""
    path = tmp_path / "a.hdr"
    path.write_bytes(HEADS["NIfTI"])
    assert no_image_reason(path) == "no image by its name"
    assert Naming().name_of(path) == "a.ome.tif"


def test_a_format_that_is_none_of_them_stays_what_it_was(tmp_path):
    data = np.arange(20, dtype="u1").reshape(4, 5)
    path = tmp_path / "a.nii"
    path.write_bytes(b"P5 5 4 255\n" + data.tobytes())
    np.testing.assert_array_equal(np.asarray(read_image(path).data), data)
    assert formats.vendor_of("a.jp2", b"\0\0\0\x0cjP  ") is None
    assert formats.vendor_of("a.nd2", b"\0\0\0\x0cjP  ") is formats.ND2
