"""Every code block of README and docs is run; what cannot be, is listed here with its reason."""

import dataclasses
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from made_up import save_png, texture
from test_readme import CONTRIBUTING, ROOT, blocks
from typer.testing import CliRunner

from napari_vdsr.cli.main import app
from napari_vdsr.device import cpu_has_bf16
from napari_vdsr.image import Image
from napari_vdsr.io import write_image
from napari_vdsr.model.card import BUNDLED

PAGES = sorted(
    path
    for folder in (".", ".github", ".napari-hub", "benchmarks", "docs", "docs/*")
    for path in ROOT.glob(f"{folder}/*.md")
)
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]

# Statements that no test runs: how they begin, or what is in them, and why not.
NOT_RUN = {
    r"^python3 -m venv": "sets up; .ci/run does it word by word",
    r"^pip install": "installs; the workflows do it",
    r"^\. \.venv/bin/activate": "is of the shell",
    r"^python -m pytest": "these tests",
    r"^coverage\b": "these tests, and what they run through",
    r"^(ruff|mypy|lint-imports|pre-commit)\b": "the workflows do it",
    r"^napari$": "opens a window, as tests/plugin do",
    r"^(job=\$\(|)sbatch\b": "needs Slurm; tests/test_cluster.py runs the script by bash",
    r"^(CUDA_VISIBLE_DEVICES=1 )?dask (scheduler|worker)\b": "needs several machines",
    r"--scheduler (tcp|local)": "starts processes; tests/test_cluster.py does it",
    r"^python docs/studies/": "trains for minutes, and writes its page",
    r"^(\w+=\w+ |xvfb-run .*)?python3? benchmarks/": "takes minutes of an idle machine",
    r"^python tools/bundle\.py(?!.*--into)": "writes into the package; the one with --into is run",
}


def statements(block):
    """Commands of a block of bash: continued lines joined, loops unrolled, comments gone."""
    text = re.sub(r"\\\n\s*", "", block)
    for line in text.splitlines():
        words = shlex.shlex(line, posix=False, punctuation_chars=False)
        words.whitespace_split = True
        line = " ".join(words)
        loop = re.fullmatch(r"for (\w+) in ([\w ]+); do (.*) & done; wait; (.*)", line)
        if loop:
            name, values, body, after = loop.groups()
            yield from (body.replace(f"${name}", value) for value in values.split())
            line = after
        yield from (part.strip() for part in line.split("&&") if part.strip())


def console(block):
    """Commands of a console, without what they print."""
    return "".join(f"{line}\n" for line in re.findall(r"^\$ (.*)$", block, re.MULTILINE))


def all_blocks():
    return list(_all_blocks())


def _all_blocks():
    for page, name in zip(PAGES, NAMES, strict=True):
        for language in ("bash", "console"):
            for number, block in enumerate(blocks(page, language), 1):
                text = console(block) if language == "console" else block
                yield pytest.param(text, id=f"{name}-{language}-{number}")


def reason(statement):
    """Why a statement is not run; None if it is."""
    statement = statement.removeprefix(".venv/bin/")
    return next((why for known, why in NOT_RUN.items() if re.search(known, statement)), None)


def test_what_is_not_run_stands_in_the_docs():
    told = [s for block in all_blocks() for s in statements(block.values[0])]
    for known in NOT_RUN:
        assert any(re.search(known, s.removeprefix(".venv/bin/")) for s in told), known


@pytest.mark.parametrize("name", NAMES)
def test_kinds_of_blocks(name):
    """What a block is must be said, or no test would find it; the rest are drawings."""
    fences = re.findall(r"^ *(```.*)$", (ROOT / name).read_text("utf-8"), re.MULTILINE)
    assert len(fences) % 2 == 0
    assert {fence.removeprefix("```") for fence in fences[::2]} <= {
        "bash", "console", "python", "toml", "text",
    }  # fmt: skip
    assert all(fence == "```" for fence in fences[1::2])


@pytest.fixture(scope="session")
def laboratory(tmp_path_factory, shallow_models):
    """A folder with all that the docs speak of, small."""
    folder = tmp_path_factory.mktemp("laboratory")
    for name, seeds in {
        "images": (1, 2), "images/sub": (3,), "my-images": (1, 2, 3), "Set5": (4,), "Set14": (5,),
        "T91": (6,), "photos": (10,), "photos-half": (11,), "BSDS200": (7,), "General100": (8,),
        "BSDS500_test200_jpg": (9,),
        "fluo/train": (1, 2), "fluo/held-out": (3,), "high": (1, 2, 3),
    }.items():  # fmt: skip
        # What is measured on, by the real networks in part, need not hold patches.
        size = (40, 48) if name in ("Set5", "Set14", "fluo/held-out") else (72, 84)
        for seed in seeds:
            save_png(folder / name / f"{seed}.png", texture(*size, seed))
    save_png(folder / "BSDS200" / "302003.png", texture(72, 84))
    for path in (folder / "high").iterdir():
        save_png(folder / "low" / path.name, texture(72, 84, int(path.stem))[::2, ::2])
    size = {"Y": 0.1, "X": 0.1}
    plane = Image(data=texture(30, 40).astype(np.uint16) * 100, axes="YX", pixel_size=size)
    for name in ("cells/a.tif", "cells.ome.tif", "plate1/A.ome.tif", "plate2/A.ome.tif"):
        (folder / name).parent.mkdir(exist_ok=True)
        write_image(plane, folder / name)
    for name in ("huge.ome.zarr", "big.ome.zarr"):
        write_image(plane, folder / name)
    stack = np.stack([texture(30, 40, seed) for seed in range(3)])
    write_image(Image(data=stack, axes="ZYX", pixel_size={"Z": 0.3, **size}), folder / "stack.tif")
    sample = Image(data=texture(33, 27), axes="YX", pixel_size={"Y": 0.107, "X": 0.107})
    (folder / "examples").mkdir()
    write_image(sample, folder / "examples" / "cell.ome.tif")
    (folder / "docs").mkdir()
    for path in (ROOT / "docs" / "make_example_data.py", *(ROOT / "docs").glob("*-recipe.toml")):
        shutil.copy(path, folder / "docs")
    shutil.copy(BUNDLED / "lite.safetensors", folder / "lite-first.safetensors")
    shutil.copytree(shallow_models, folder / "runs" / "filaments")
    (folder / "runs" / "filaments" / "vdsr.safetensors").rename(
        folder / "runs" / "filaments" / "filaments.safetensors"
    )
    for run in ("srcnn", "fsrcnn", "btsrn", "vdsr", "a", "b"):
        (folder / "runs" / run).mkdir()
        shutil.copy(ROOT / "docs/bundled/vdsr/log.csv", folder / "runs" / run / "log.csv")
    return folder


@pytest.fixture
def shell(tmp_path, monkeypatch, laboratory, shallow_models):
    """Run a statement in a copy of the laboratory; trainings take one step of a small network."""
    place = tmp_path / "laboratory"
    shutil.copytree(laboratory, place)
    models = tmp_path / "bundled"
    shutil.copytree(shallow_models, models)
    for bundled in BUNDLED.glob("*.safetensors"):
        if not (models / bundled.name).exists():
            shutil.copy(models / "vdsr.safetensors", models / bundled.name)
    monkeypatch.chdir(place)
    monkeypatch.setenv("VDSR_MODELS", str(tmp_path / "own"))
    _shorten_training(monkeypatch)

    def run(statement):
        command, _, target = statement.partition(" > ")
        command = command.removeprefix(".venv/bin/")
        command = re.sub(r"--part \d+/40", "--part 1/1", command)  # one of 40 that are meant
        if not cpu_has_bf16():
            command = command.replace("--precision bf16", "")
        program, *words = shlex.split(command)
        if program == "python":
            return script(words)
        assert program == "vdsr", f"{statement}: nothing is known of it; see NOT_RUN"
        with monkeypatch.context() as patch:
            if words[0] != "train":  # which begins with the real ones
                patch.setattr("napari_vdsr.model.card.BUNDLED", models)
            if words[0] in ("train", "upscale") and "-o" in words and "--part" not in words:
                shutil.rmtree(words[words.index("-o") + 1], ignore_errors=True)
            result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, f"{statement}\n{result.output}"
        if target:
            Path(target).write_text(result.stdout)

    def script(words):
        path, *arguments = words
        small = {"docs/make_example_data.py": ["--fields", "3", "--size", "96"]}
        monkeypatch.setattr(sys, "argv", [*words, *small.get(path, [])])
        if "tools" in path:
            _before_bundling(run, arguments[0])
        runpy.run_path(str(ROOT / path), run_name="__main__")

    return run


def _before_bundling(run, folder):
    shutil.rmtree(folder, ignore_errors=True)
    run(f"vdsr train my-images -o {folder}")


def _shorten_training(monkeypatch):
    loop = pytest.importorskip("napari_vdsr.training.loop")
    train = loop.train

    def short(config, *arguments, **options):
        changed = {"steps": 1, "minutes": 0.0, "batch_size": 2, "patch_size": 16, "warmup": 0}
        if not config.start_from and config.network is None:
            changed |= {"depth": 3, "width": 8}
        return train(dataclasses.replace(config, **changed), *arguments, **options)

    monkeypatch.setattr(loop, "train", short)
    # Nobody looks at how such trainings went.
    monkeypatch.setattr(
        "napari_vdsr.training.measuring.draw_curve", lambda rows, path: path.touch()
    )
    monkeypatch.setattr(
        "napari_vdsr.training.report.draw_outcomes", lambda outcomes, path, title: path.touch()
    )


@pytest.mark.slow
@pytest.mark.parametrize("block", all_blocks())
def test_block_runs(block, request):
    told = list(statements(block))
    assert told
    runs = [statement for statement in told if not reason(statement)]
    if not runs:
        pytest.skip("; ".join(sorted({reason(statement) for statement in told})))
    shell = request.getfixturevalue("shell")
    for statement in runs:
        shell(statement)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        (name, n)
        for p, name in zip(PAGES, NAMES, strict=True)
        for n in range(len(blocks(p, "toml")))
    ],
)
def test_recipes_are_read(tmp_path, name, number):
    """As `--preset` takes them."""
    from napari_vdsr.training import load_config

    recipe = tmp_path / "recipe.toml"
    recipe.write_text(blocks(ROOT / name, "toml")[number], "utf-8")
    assert load_config(recipe) != load_config("fast")


def test_every_python_block_is_run_by_a_test():
    """Those of `docs/examples.md` are the files of `examples/`, which have tests of their own."""
    run = {"README.md", "docs/index.md", "CONTRIBUTING.md", "docs/clusters.md"}
    for page, name in zip(PAGES, NAMES, strict=True):
        for block in blocks(page, "python"):
            included = re.fullmatch(r'--8<-- "(examples/\w+\.py)"\n', block)
            assert (included and (ROOT / included[1]).is_file()) or name in run, name


def anchors(page):
    """Names of a page's headings, as the repository's view and the site make them."""
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text("utf-8"))
    titles = [re.sub(r"\]\(.*?\)|[`*\[]", "", t) for t in re.findall(r"(?m)^#+ (.*)$", text)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", NAMES)
def test_links_within_lead_somewhere(name):
    page = ROOT / name
    text = re.sub(r"(?ms)^```.*?^```|`[^`\n]*`", "", page.read_text("utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if page.is_relative_to(ROOT / "docs"):  # the site has nothing else
            assert target.is_relative_to(ROOT / "docs"), link
        if anchor:
            assert anchor in anchors(target), link


def test_the_gallery_holds_what_it_shows():
    """Small pictures, each of them shown, and a script that asks no other server for anything."""
    docs = ROOT / "docs"
    shown = re.findall(
        r"^!\[.+\]\((gallery/\S+)\)$", (docs / "gallery.md").read_text("utf-8"), re.M
    )
    found = {path.relative_to(docs).as_posix() for path in (docs / "gallery").iterdir()}
    assert set(shown) == found
    assert len(shown) == len(found)
    assert sum((docs / name).stat().st_size for name in found) < 1.5e6
    for name in ("slider.js", "slider.css"):
        assert "//" not in re.sub(r"(?m)^//.*$", "", (docs / name).read_text("utf-8"))


def test_pages_are_found():
    assert CONTRIBUTING in PAGES
    assert {"README.md", ".napari-hub/DESCRIPTION.md", "docs/studies/README.md"} <= set(NAMES)
