"""Which files are trained on."""

import os
from pathlib import Path

import pytest
import tifffile
from made_up import save_png, texture

from napari_vdsr.errors import TrainingError
from napari_vdsr.training import Sources, load_config, train
from napari_vdsr.training.data.sources import hold_out, list_files, pairs


def names(paths):
    return [path.name for path in paths]


class TestList:
    def test_order(self, tmp_path):
        for name in ("b/2.png", "b/1.png", "a/3.png", "single.png"):
            save_png(tmp_path / name, texture(20, 30))
        sources = [
            tmp_path / "b",
            tmp_path / "a",
            tmp_path / "single.png",
            tmp_path / "b" / "1.png",
        ]
        assert names(list_files(sources)) == ["1.png", "2.png", "3.png", "single.png"]

    def test_globs(self, tmp_path):
        for name in ("p1/a.png", "p2/b.png", "p2/deep/c.png"):
            save_png(tmp_path / name, texture(20, 30))
        assert names(list_files([tmp_path / "p*" / "*.png"])) == ["a.png", "b.png"]
        assert names(list_files([tmp_path / "**" / "*.png"])) == ["a.png", "b.png", "c.png"]

    def test_exclude(self, tmp_path):
        for name in ("302003", "302004", "7"):
            save_png(tmp_path / f"{name}.png", texture(20, 30))
        assert names(list_files([tmp_path], ["302003.png"])) == ["302004.png", "7.png"]
        assert names(list_files([tmp_path], ["3*"])) == ["7.png"]
        with pytest.raises(
            TrainingError, match=r"8\.png, to be left out, matches none of the 3 images"
        ):
            list_files([tmp_path], ["8.png"])
        with pytest.raises(TrainingError, match="all 3 images are excluded"):
            list_files([tmp_path], ["*"])

    def test_files_that_are_no_images_are_skipped(self, tmp_path):
        (tmp_path / "MANIFEST.tsv").write_text("a\tb\n", encoding="utf-8")
        save_png(tmp_path / "A.PNG", texture(20, 30))
        save_png(tmp_path / "folder" / "inner.png", texture(20, 30))
        assert names(list_files([tmp_path])) == ["A.PNG"]

    def test_a_file_that_is_named_is_meant(self, tmp_path):
        """Whatever its suffix is, as in a batch: reading it tells."""
        tifffile.imwrite(tmp_path / "cells.dat", texture(20, 30))
        save_png(tmp_path / "a.png", texture(20, 30))
        assert names(list_files([tmp_path])) == ["a.png"]
        assert names(list_files([tmp_path, tmp_path / "cells.dat"])) == ["a.png", "cells.dat"]

    @pytest.mark.parametrize("source", ["empty", "*.tif", "empt*"])
    def test_each_source_has_images(self, tmp_path, source):
        (tmp_path / "empty").mkdir()
        save_png(tmp_path / "a.png", texture(20, 30))
        with pytest.raises(TrainingError, match="no images there"):
            list_files([tmp_path, tmp_path / source])

    def test_folders_that_a_pattern_matches(self, tmp_path):
        for name in ("p1/a.png", "p2/b.png", "p2/deep/c.png"):
            save_png(tmp_path / name, texture(20, 30))
        assert names(list_files([tmp_path / "p*"])) == ["a.png", "b.png"]

    def test_folders_and_pipes_are_no_images_in_a_folder(self, tmp_path):
        save_png(tmp_path / "a.png", texture(20, 30))
        (tmp_path / "stack.tif").mkdir()
        if hasattr(os, "mkfifo"):
            os.mkfifo(tmp_path / "pipe.tif")
        assert names(list_files([tmp_path])) == ["a.png"]
        assert names(list_files([tmp_path / "*"])) == ["a.png"]

    def test_pictures_of_earlier_runs_are_skipped(self, tmp_path):
        for name in ("a.png", "run/curve.png", "run/worst.png", "other/curve.png", "run/b.png"):
            save_png(tmp_path / name, texture(20, 30))
        (tmp_path / "run" / "checkpoint.safetensors").touch()
        found = list_files([tmp_path / "**"])
        assert sorted(path.relative_to(tmp_path).as_posix() for path in found) == [
            "a.png", "other/curve.png", "run/b.png",
        ]  # fmt: skip

    def test_missing_folder(self, tmp_path):
        with pytest.raises(TrainingError, match="gone: no such file or folder"):
            list_files([tmp_path / "gone"])


FILES = [Path(f"{n}.tif") for n in range(20)]


class TestHoldOut:
    @pytest.mark.parametrize(("share", "count"), [(0.1, 2), (0.01, 1), (0.5, 10), (0.9, 18)])
    def test_every_file_is_on_one_side(self, share, count):
        train, held_out = hold_out(FILES, share, 7)
        assert len(held_out) == count
        assert sorted([*train, *held_out]) == sorted(FILES)
        assert train == sorted(train, key=FILES.index)

    def test_the_seed_decides(self):
        choices = {tuple(hold_out(FILES, 0.1, seed)[1]) for seed in range(20)}
        assert len(choices) > 10
        assert hold_out(FILES, 0.1, 3) == hold_out(FILES, 0.1, 3)

    def test_none(self):
        assert hold_out(FILES, 0, 1) == (FILES, [])

    def test_something_is_left_to_train_on(self):
        assert list(map(len, hold_out(FILES[:2], 0.9, 1))) == [1, 1]

    def test_one_file_cannot_be_split(self):
        with pytest.raises(TrainingError, match="is the only file"):
            hold_out(FILES[:1], 0.1, 1)


def test_a_set_of_files_is_listed_once(tmp_path):
    listed = "".join(
        f'<TiffData FirstT="{t}" IFD="0"><UUID FileName="a{t}.ome.tif">urn:uuid:{t}</UUID>'
        "</TiffData>"
        for t in range(3)
    )
    for t in range(3):
        xml = (
            f'<?xml version="1.0"?><OME UUID="urn:uuid:{t}"><Image ID="I:0"><Pixels ID="P:0" '
            'DimensionOrder="XYZCT" Type="uint8" SizeX="30" SizeY="20" SizeZ="1" SizeC="1" '
            f'SizeT="3">{listed}</Pixels></Image></OME>'
        )
        tifffile.imwrite(
            tmp_path / f"a{t}.ome.tif", texture(20, 30), description=xml, metadata=None
        )
    save_png(tmp_path / "b.png", texture(20, 30))
    assert [path.name for path in list_files([tmp_path])] == ["a0.ome.tif", "b.png"]


class TestPairs:
    def test_by_name(self):
        low = [Path("low/b.tif"), Path("low/a.png")]
        high = [Path("high/a.ome.tif"), Path("high/b.tif")]
        assert pairs(low, high) == [(low[1], high[0]), (low[0], high[1])]

    @pytest.mark.parametrize(
        ("low", "high", "side"), [("ab", "a", "high"), ("a", "ab", "low"), ("a", "b", "high")]
    )
    def test_lonely_files(self, low, high, side):
        folders = ([Path(folder) / f"{n}.tif" for n in letters]
                   for folder, letters in (("low", low), ("high", high)))  # fmt: skip
        with pytest.raises(TrainingError, match=f"no partner among the {side}-resolution"):
            pairs(*folders)

    def test_ambiguous_names(self):
        with pytest.raises(TrainingError, match="another file has the same name"):
            pairs([Path("a/1.tif"), Path("b/1.tif")], [Path("high/1.tif")])


def test_folders_and_files_may_be_texts_alone(tmp_path):
    told = Sources("high", inputs="low", validation="held-out", exclude="302003*")
    assert told == Sources(
        (Path("high"),), inputs=(Path("low"),), validation=Path("held-out"), exclude=("302003*",)
    )
    assert Sources(["a", Path("b")]).every == (Path("a"), Path("b"))
    save_png(tmp_path / "high" / "a.png", texture(60, 66))
    made = train(
        load_config("fast", depth=2, width=2, steps=2, batch_size=2, patch_size=8, hold_out=0.0),
        Sources(str(tmp_path / "high")), str(tmp_path / "run"), accelerator="cpu",
    )  # fmt: skip
    assert made == tmp_path / "run" / "vdsr.safetensors"
