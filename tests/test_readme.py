"""What README and docs say is so."""

import copy
import re
import runpy
import shlex
import shutil
import sys
import types
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import torch

import napari_vdsr
from napari_vdsr.cli.main import app
from napari_vdsr.engine import upscale
from napari_vdsr.errors import ImageFileError
from napari_vdsr.evaluation.published import figure, paper_of
from napari_vdsr.image import Image
from napari_vdsr.io import list_series, read_image, read_provenance
from napari_vdsr.io.bands import Bands
from napari_vdsr.io.read import PICTURES
from napari_vdsr.model.card import BUNDLED, ModelCard
from napari_vdsr.model.file import load_model, save_model
from napari_vdsr.networks import NETWORKS
from napari_vdsr.networks.cost import flop_per_pixel, parameters_at

ROOT = Path(__file__).parents[1]
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PAGES = [ROOT / "README.md", CONTRIBUTING, *sorted((ROOT / "docs").glob("*.md"))]

# Models of the package and beside it, but for what goes on from one of them with other images.
WITH_FIGURES = [
    path
    for folder in (BUNDLED, ROOT / "models")
    for path in sorted(folder.glob("*.safetensors"))
    if path.stem != "vdsr-fluo"
]


def blocks(page, language):
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_python_example_runs(tmp_path, monkeypatch, capsys, shallow_model, page):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    (example,) = blocks(ROOT / page, "python")
    exec(compile(example, page, "exec"), {})
    assert "(1320, 1100) uint8" in capsys.readouterr().out
    assert (tmp_path / "sharp.ome.tif").stat().st_size > 1320 * 1100


@pytest.mark.parametrize("path", WITH_FIGURES, ids=lambda path: path.stem)
def test_networks_are_as_their_cards_say(path):
    """The README's table: size and cost, PSNR at x2, x3 and x4, the paper's beside it.

    A network of one scale has no figures at the others.
    """
    text = (ROOT / "README.md").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith(f"| `{path.stem}` |")]
    model = load_model(str(path))
    (cells,) = ([cell.strip() for cell in line.split("|")[2:-1]] for line in lines)
    at = int(min(model.card.scales))
    assert int(cells[0].replace(",", "")) == parameters_at(model.network, at)
    assert float(cells[1]) == pytest.approx(flop_per_pixel(model.network, at) / 1e6, rel=5e-3)
    for dataset, cell in zip(("Set5", "Set14"), cells[2:4], strict=True):
        figures = model.card.measured["psnr_db"][dataset]
        assert cell == " / ".join(
            f"{figures[scale]:.2f}" if scale in figures else "-" for scale in "234"
        )
    paper = paper_of(model.card.architecture, model.card.hyperparameters)
    scales = [scale if scale in model.card.scales else None for scale in (2, 3, 4)]
    published = [figure(paper, "Set5", scale) if scale else None for scale in scales if paper]
    assert cells[4] == " / ".join(f"{found.psnr:.2f}" if found else "-" for found in published)


@pytest.mark.parametrize("path", WITH_FIGURES, ids=lambda path: path.stem)
def test_all_figures_are_those_of_the_card(path):
    page = (ROOT / "docs/bundled/README.md").read_text("utf-8")
    row = rf"^\| (Set\d+) +\| +x(\d) \| {path.stem} +\| +\d+ \| +([\d.]+) \| +\S+ \| +([\d.]+) "
    rows = re.findall(row, page, re.MULTILINE)
    card = load_model(str(path)).card
    measured = card.measured
    assert len(rows) == 2 * len(card.scales)
    for dataset, scale, psnr, ssim in rows:
        assert float(psnr) == pytest.approx(measured["psnr_db"][dataset][scale], abs=6e-4)
        assert float(ssim) == pytest.approx(measured["ssim"][dataset][scale], abs=6e-6)


def test_clusters_of_the_docs(monkeypatch, capsys):
    """As far as a machine without Slurm and Kubernetes can tell: these start nothing here."""
    jobqueue = pytest.importorskip("dask_jobqueue")
    asked = []
    monkeypatch.setattr(
        jobqueue.SLURMCluster, "scale", lambda _, *number, **amount: asked.append(amount)
    )
    slurm, kubernetes = blocks(ROOT / "docs" / "clusters.md", "python")
    names = {}
    exec(compile(slurm, "clusters.md", "exec"), names)
    with names["cluster"] as cluster:
        script = cluster.job_script()
        assert capsys.readouterr().out.strip() == cluster.scheduler_address
        assert asked == [{"jobs": 10}]
    for line in ("#SBATCH --gpus=1", "#SBATCH --mem=15G", "#SBATCH --cpus-per-task=8"):
        assert line in script
    assert "--memory-limit 0" in script
    pods = {"spec": {"containers": [{"name": "dask"}]}}
    operator = types.ModuleType("dask_kubernetes.operator")
    operator.make_cluster_spec = lambda *_, **__: {
        "spec": {"scheduler": copy.deepcopy(pods), "worker": copy.deepcopy(pods)}
    }
    operator.KubeCluster = lambda custom_cluster_spec: types.SimpleNamespace(
        scheduler_address="tcp://pod", spec=custom_cluster_spec["spec"]
    )
    monkeypatch.setitem(sys.modules, "dask_kubernetes", types.ModuleType("dask_kubernetes"))
    monkeypatch.setitem(sys.modules, "dask_kubernetes.operator", operator)
    exec(compile(kubernetes, "clusters.md", "exec"), names)
    worker = names["cluster"].spec["worker"]["spec"]
    assert worker["volumes"][0]["name"] == worker["containers"][0]["volumeMounts"][0]["name"]


def test_the_toy_network_does_what_is_said_of_it(tmp_path, monkeypatch):
    """What `CONTRIBUTING.md` tells to write, held to what it promises."""
    block, *_ = blocks(CONTRIBUTING, "python")
    names = {"__name__": "toy"}
    exec(compile(block, "toy.py", "exec"), names)
    monkeypatch.setitem(NETWORKS, "toy", names["Toy"])
    torch.manual_seed(0)
    network = names["Toy"](width=4).eval()
    assert network.radius == 2
    card = ModelCard(name="toy", architecture="toy", scales=(2.0,))
    save_model(tmp_path / "toy.safetensors", network, card)
    model = load_model(str(tmp_path / "toy.safetensors"))
    assert model.network.hyperparameters == {"width": 4}
    pixels = np.random.default_rng(0).random((23, 31), np.float32)
    image = Image(data=pixels, axes="YX")
    results = [
        upscale(image, model, 2, tile=tile, device="cpu", normalize=(0, 1)).data.compute()
        for tile in (7, 64)
    ]
    np.testing.assert_allclose(*results, atol=1e-5)
    with torch.inference_mode():
        x = torch.rand(1, 1, 9, 9)
        torch.testing.assert_close(network(x), network.trunk()(x))


def test_the_toy_format_does_what_is_said_of_it(tmp_path, monkeypatch):
    """As step 4 puts it into `io/read.py`."""
    _, block, writer = blocks(CONTRIBUTING, "python")
    toy = types.ModuleType("toy")
    monkeypatch.setitem(sys.modules, "toy", toy)
    exec(compile(block, "toy.py", "exec"), toy.__dict__)
    table = (*PICTURES, ((toy.MAGIC,), toy.read_toy))
    monkeypatch.setattr("napari_vdsr.io.read.PICTURES", table)
    pixels = np.arange(12, dtype="<u2").reshape(3, 4)
    path = tmp_path / "a.toy"
    path.write_bytes(b"TOY1" + np.array([3, 4], "<u4").tobytes() + pixels.tobytes())
    image = read_image(path)
    assert image.axes == "YX"
    assert [series.shape for series in list_series(path)] == [(3, 4)]
    assert read_provenance(path) is None
    np.testing.assert_array_equal(np.asarray(image.data), pixels)
    np.testing.assert_array_equal(np.asarray(image.data[1:2, 1:3]), pixels[1:2, 1:3])
    result = upscale(image, load_model("bicubic"), 2)
    assert np.asarray(result.data).shape == (6, 8)
    whole = path.read_bytes()
    large = np.arange(700 * 90, dtype="u2").reshape(700, 90)
    (tmp_path / "b.toy").touch()
    names = toy.__dict__ | {"Path": Path, "Bands": Bands}
    exec(compile(writer, "toy.py", "exec"), names)
    names["write_toy"](tmp_path / "b.toy", Bands(da.from_array(large, chunks=(33, 17)), 2))
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "b.toy").data), large)
    for damaged in (whole[:7], whole[:-1], whole + b"x", whole[:4] + b"\xff" * 8 + whole[12:]):
        path.write_bytes(damaged)
        with pytest.raises(ImageFileError, match=r"a\.toy: "):
            read_image(path)


def test_every_page_is_found_in_the_sites_navigation():
    listed = set(
        re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    )
    docs = ROOT / "docs"
    pages = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    assert pages - {"studies/README.md"} == listed


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {napari_vdsr.__version__}\n" in text


def test_workflows_pin_their_actions():
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        used = re.findall(r"uses: (\S+)", path.read_text("utf-8"))
        assert used
        assert all(re.search(r"@(v\d+|release/v1)$", action) for action in used), path.name


def commands():
    lines = [
        line
        for page in PAGES
        for language in ("bash", "console")
        for block in blocks(page, language)
        for line in re.findall(r"(?:^|[ /])(vdsr [a-z].*)$", block, re.MULTILINE)
    ]
    assert len(lines) > 5
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("line", commands())
def test_commands_have_the_options_that_are_shown(line):
    _, name, *words = shlex.split(line, comments=True)
    if "--" in words:  # what follows are the words of another command
        at = words.index("--")
        _check_options("upscale", words[at + 1 :])
        words = words[:at]
    _check_options(name, words)


def _check_options(name, words):
    from typer.main import get_command

    command = get_command(app).commands[name]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


def test_the_readme_of_the_package_leads_nowhere_in_the_repository():
    alone = runpy.run_path(str(ROOT / "tools" / "readme.py"))["alone"]
    text = (ROOT / "README.md").read_text("utf-8")
    made = alone(text)
    outside_code = re.sub(r"^```.*?^```$", "", made, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)]*)\)", outside_code)
    assert targets
    assert all(target.startswith(("https://", "#")) for target in targets)
    assert blocks(ROOT / "README.md", "bash")[0] in made
    assert len(made.split("\n\n\n")) == len(text.split("\n\n\n"))
    assert alone("see [a](b.md#c), [d](https://e.f)\n\n![g](h.png)\n\n```\n[i](j)\n```\n") == (
        "see a, [d](https://e.f)\n\n```\n[i](j)\n```\n"
    )
