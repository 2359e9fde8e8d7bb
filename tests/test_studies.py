"""The scripts of the studies run; what they find takes longer."""

import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch
from made_up import save_png, texture

from napari_vdsr.training import config
from napari_vdsr.training.config import load_config

STUDIES = Path(__file__).parents[1] / "docs/studies"
SMALL = {
    "clipping": ["--depth", "2"],
    "crops": ["--depth", "2", "--smallest", "8", "--pixels", "256"],
    "depth": [],
    "networks": ["--variants", "fsrcnn", "espcn", "--steps", "0", "--minutes", "0.01"],
    "objective": ["--variants", "lite-l1-late-64", "lite-l1-muon"],
    "residual": ["--depth", "2", "--batch", "2"],
    "scales": ["--depth", "2"],
    "starts": ["--batch", "2"],
}
SHARED = ("study", "equal_time")


def small_recipe(name, **changes):
    """Return one that is trained in no time, on processors without bf16, too."""
    small = {"batch_size": 2, "precision": "float32"} | (
        {} if "network" in changes else {"width": 4}
    )
    return load_config(name, **changes | small)


def test_all_are_here():
    pages = {path.stem for path in STUDIES.glob("*.md")}
    assert pages == {*SMALL, "README"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_study_writes_its_page(name, tmp_path, monkeypatch):
    scripts = shutil.ignore_patterns("*.png", "*.md")
    here = shutil.copytree(STUDIES, tmp_path / "studies", ignore=scripts)
    for folder, seeds in (("train", range(3)), ("test", (7,))):
        (tmp_path / folder).mkdir()
        for seed in seeds:
            save_png(tmp_path / folder / f"{seed}.png", texture(100, 104, seed))
    where = ["--train", str(tmp_path / "train"), "--test", str(tmp_path / "test")]
    monkeypatch.setattr(sys, "argv", [name, *where, "--steps", "8", *SMALL[name]])
    monkeypatch.syspath_prepend(here)
    for module in SHARED:
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.chdir(tmp_path)  # some keep their runs
    monkeypatch.setattr(config, "load_config", small_recipe)
    threads = torch.get_num_threads()
    try:
        runpy.run_path(str(here / f"{name}.py"), run_name="__main__")
    finally:
        torch.set_num_threads(threads)
    for module in SHARED:
        sys.modules.pop(module, None)
    page = (here / f"{name}.md").read_text("utf-8")
    assert page.startswith("# ")
    assert "| " in page
    if "](" in page:
        assert (here / f"{name}.png").is_file()
