"""What a run may take is for what is kept and written; the rest is shared by the tiles."""

from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile

from napari_vdsr import kept, load_model
from napari_vdsr.advice import Remedy
from napari_vdsr.batch import Settings, plan, run
from napari_vdsr.batch.budget import held, kept_share, options_within
from napari_vdsr.errors import UsageError
from napari_vdsr.image import Image
from napari_vdsr.io.formats import Chosen
from napari_vdsr.io.zarr.form import ZarrForm
from napari_vdsr.options import Options

BICUBIC, VDSR = load_model("bicubic"), load_model("vdsr")


def settings(mib, **options):
    return Settings(model=BICUBIC, memory=None if mib is None else mib * 2**20, **options)


def image(*shape, chunks=1024, dtype="u2"):
    return Image(data=da.zeros(shape, dtype=dtype, chunks=chunks), axes="YXS"[: len(shape)])


def test_nothing_said_is_as_much_as_is_fast():
    assert options_within(image(9, 9), Chosen("png"), settings(None)).max_memory is None
    with held(None):
        assert kept.KEPT_BYTES == kept.DEFAULT_BYTES


def test_what_is_kept_is_less_as_long_as_a_run_goes_on():
    with held(2**26):
        assert kept.KEPT_BYTES == kept_share(2**26) == 2**23
    assert kept.KEPT_BYTES == kept.DEFAULT_BYTES
    assert kept_share(2**40) == kept.DEFAULT_BYTES


@pytest.mark.parametrize("mib", [256, 512, 8192])
@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("form", [Chosen("tiff"), Chosen("ome-tiff", "zlib"), Chosen("ome-zarr")])
def test_tiles_share_what_is_left(mib, workers, form):
    each = options_within(image(9000, 9000), form, settings(mib, workers=workers)).max_memory
    taken = each * workers + 2 * kept_share(mib * 2**20)
    assert mib * 2**20 // 4 < taken <= mib * 2**20


@pytest.mark.parametrize(
    ("made", "form", "options", "what"),
    [
        ((4000, 4000), Chosen("png"), {}, "367 to write PNG"),
        ((4000, 4000), Chosen("tiff"), {"workers": 100}, "for 100 of the smallest tiles"),
        ((4000, 4000), Chosen("ome-zarr"), {"zarr": ZarrForm(shards=4096)}, "to write OME-Zarr"),
    ],
)
def test_what_cannot_be_made_in_it_is_refused_with_what_it_needs(made, form, options, what):
    with pytest.raises(UsageError, match=what) as caught:
        options_within(image(*made), form, settings(100, **options))
    assert caught.value.told.remedy is Remedy.MORE_MEMORY
    needed = int(str(caught.value).partition("needs, ")[2].split()[0])
    assert options_within(image(*made), form, settings(needed, **options)).max_memory > 0


def test_large_pieces_of_a_file_count():
    with pytest.raises(UsageError, match=": 62 for pieces of its file"):
        options_within(image(2000, 4000, chunks=-1), Chosen("tiff"), settings(60))


@pytest.mark.parametrize("dry_run", [False, True])
def test_one_line_is_said_before_anything_is_read(tmp_path, dry_run):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4000, 1500), "u2"))
    jobs = plan([str(tmp_path / "a.tif")], tmp_path / "out", format="png", scale=2)
    (result,) = run(jobs, replace(settings(16), format="png"), dry_run=dry_run)
    assert result.status == "failed"
    assert "16 MiB are less than this image needs" in result.reason
    needed = int(str(result.reason).partition("needs, ")[2].split()[0])
    (result,) = run(jobs, replace(settings(needed), format="png"), dry_run=True)
    assert result.status == "planned"
    assert not list(Path(tmp_path).rglob("*.png"))


def test_a_tile_that_is_asked_for_counts():
    asked = settings(200, options=Options(tile=4096))
    with pytest.raises(UsageError, match="for 2 of the smallest"):
        options_within(image(5000, 5000), Chosen("tiff"), asked)


def test_the_network_counts_once_where_tiles_take_turns_at_it():
    few, many = (
        options_within(
            image(9000, 9000),
            Chosen("tiff"),
            replace(settings(4096, workers=workers), model=VDSR, options=Options(device="cpu")),
        ).max_memory
        for workers in (1, 8)
    )
    assert few / 8 < many < few


def test_as_many_shards_as_there_are_are_counted():
    def writing(side):
        with pytest.raises(UsageError) as caught:
            options_within(
                image(side, side), Chosen("ome-zarr"), settings(32, zarr=ZarrForm(shards=2048))
            )
        return int(str(caught.value).split(" to write")[0].split()[-1])

    assert writing(2048) * 2 == writing(4096) == writing(9000)
