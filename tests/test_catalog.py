"""Models by name: the bundled, and those in the user's own folder."""

import hashlib
import os
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from napari_vdsr.cli.main import app
from napari_vdsr.errors import ModelFileError, UsageError
from napari_vdsr.model import card as cards
from napari_vdsr.model import catalog
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.catalog import (
    add_model,
    check_noted,
    entries,
    find_model,
    list_models,
    models_folder,
    remove_model,
)
from napari_vdsr.model.file import load_model, save_model
from napari_vdsr.networks import VDSR

# Models of the repository that are no part of the package.
BESIDE = Path(__file__).parents[1] / "models"
pytestmark = pytest.mark.usefixtures("shallow_model")


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(3)
    path = tmp_path / "from-elsewhere.safetensors"
    save_model(path, VDSR(depth=3, width=5).eval(), ModelCard(name="mine", architecture="vdsr"))
    return path


def vdsr(*arguments):
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


BUNDLED = ["lite", "vdsr"]  # of `shallow_model`


def add(path, name=None, sha256=None):
    return add_model(path, name, sha256, load_model)


def test_bicubic_is_no_file():
    with pytest.raises(ModelFileError, match="'bicubic' is interpolation: it has no weights"):
        find_model("bicubic")


def test_folder_of_the_variable_and_of_the_system(monkeypatch, own_models):
    assert models_folder() == own_models
    monkeypatch.delenv("VDSR_MODELS")
    monkeypatch.setattr(catalog.platformdirs, "user_data_path", lambda *_, **__: Path("data"))
    assert models_folder() == Path("data/models")


def test_folder_that_is_a_file(file, own_models):
    own_models.write_bytes(b"")
    with pytest.raises(ModelFileError, match="is a file, and your own models are kept in a folder"):
        add(file)


def test_added_model_is_found_by_its_name(file, own_models):
    target = add(file)
    assert target == own_models / "mine.safetensors"
    assert target.read_bytes() == file.read_bytes()
    assert find_model("mine") == target
    assert load_model("mine").identity == load_model(file).identity
    assert [card.name for card in list_models()] == ["bicubic", *BUNDLED, "mine"]


@pytest.mark.parametrize("name", ["EDSR 2.0", "µ-netz größer"])
def test_it_may_have_another_name(file, name):
    add(file, name)
    assert load_model(name).name == name
    assert list_models()[-1].name == name


def test_a_layer_is_of_filters_that_are_drawn(file):
    done = vdsr("show", file, "--layer", 2)
    assert done.exit_code == 2
    assert "Pass --filters" in done.output


def test_checksum_is_noted_as_sha256sum_does(file, own_models):
    add(file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    note = own_models / "mine.safetensors.sha256"
    assert note.read_text() == f"{digest}  mine.safetensors\n"
    with (own_models / "mine.safetensors").open("ab") as changed:
        changed.write(b" ")
    with pytest.raises(ModelFileError, match="is not the file whose checksum is noted"):
        load_model("mine")


def test_checksum_beside_a_file_anywhere_must_fit(file):
    note = file.with_name(f"{file.name}.sha256")
    note.write_text(f"{hashlib.sha256(file.read_bytes()).hexdigest().upper()} *x\n")
    load_model(file)
    note.write_text("0" * 64)
    with pytest.raises(ModelFileError, match="is not the file"):
        load_model(file)
    with pytest.raises(ModelFileError, match="has the checksum"):
        add(file)
    for content in ("nothing", "0" * 65, ""):
        note.write_text(content)
        with pytest.raises(ModelFileError, match="holds no SHA-256"):
            load_model(file)


def test_checksum_that_is_asked_for(file):
    with pytest.raises(ModelFileError, match="has the checksum"):
        add(file, sha256="a" * 64)
    with pytest.raises(UsageError, match="no SHA-256"):
        add(file, sha256="a" * 63)
    assert list(models_folder().iterdir()) == []
    add(file, sha256=hashlib.sha256(file.read_bytes()).hexdigest())


@pytest.mark.parametrize("damage", ["cut short", "changed"])
def test_a_damaged_file_is_named_and_not_its_copy(file, own_models, damage):
    content = file.read_bytes()
    file.write_bytes(content[:-9] if damage == "cut short" else content[:-9] + b"123456789")
    with pytest.raises(ModelFileError) as error:
        add(file, "mine")
    assert str(error.value).startswith(f"{file}: ")
    assert ".part" not in str(error.value)
    assert list(own_models.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["../mine", "a/b", "a\\b", "/mine", ".mine", "mine ", "a\nb", "a" * 101, "x.safetensors"],
)
def test_names_that_lead_elsewhere_are_refused(file, own_models, name):
    with pytest.raises(UsageError, match="cannot be a model's name"):
        add(file, name)
    with pytest.raises(ModelFileError):
        remove_model(name)
    assert not own_models.exists() or not any(own_models.iterdir())
    assert file.exists()


@pytest.mark.parametrize("name", ["vdsr", "VDSR", "lite", "bicubic"])
def test_bundled_names_are_taken(file, name):
    with pytest.raises(UsageError, match="is bundled"):
        add(file, name)
    with pytest.raises((UsageError, ModelFileError)):
        remove_model(name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_among_the_models_is_passed_over(own_models):
    own_models.mkdir(parents=True)
    os.mkfifo(own_models / "pipe.safetensors")
    assert "pipe" not in {entry.name for entry in entries()}


def test_a_bundled_model_is_not_removed_from_the_package_itself(monkeypatch):
    monkeypatch.setenv("VDSR_MODELS", str(cards.BUNDLED))
    with pytest.raises(UsageError, match="is bundled"):
        remove_model("vdsr")
    assert (cards.BUNDLED / "vdsr.safetensors").is_file()


@pytest.mark.parametrize("path", sorted(BESIDE.glob("*.safetensors")), ids=lambda path: path.stem)
def test_models_beside_the_package_can_be_added(tmp_path, monkeypatch, path):
    """They are too large for it."""
    monkeypatch.setenv("VDSR_MODELS", str(tmp_path))
    noted = path.with_name(f"{path.name}.sha256").read_text("ascii")
    assert noted == f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
    result = CliRunner().invoke(app, ["models", "add", str(path)])
    assert result.exit_code == 0, result.output
    card = load_model(path.stem).card
    assert card.name == path.stem
    assert card.measured["psnr_db"]


def test_model_is_replaced_by_nothing(file):
    add(file)
    with pytest.raises(UsageError, match="in the folder already"):
        add(file, "Mine")


def test_two_that_add_one_name_at_once(file, own_models):
    def meanwhile(copy):
        with pytest.raises(UsageError, match="is being added just now"):
            add_model(other, "a", None, lambda _: None)

    other = file.with_name("other.safetensors")
    other.write_bytes(file.read_bytes() + b" ")
    check_noted(add_model(file, "a", None, meanwhile))
    assert sorted(path.name for path in own_models.iterdir()) == [
        "a.safetensors", "a.safetensors.sha256",
    ]  # fmt: skip


def test_file_that_is_no_model_is_not_added(tmp_path, own_models, file):
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ModelFileError):
        add(damaged, "mine")
    pickle = tmp_path / "pickle.pt"
    torch.save(VDSR(depth=3, width=5).state_dict(), pickle)
    with pytest.raises(ModelFileError, match="never pickles"):
        add(pickle, "mine")
    assert not own_models.exists() or not any(own_models.iterdir())


def test_what_lies_in_the_folder_by_hand(file, own_models, caplog):
    catalog._tell_hidden.cache_clear()
    own_models.mkdir()
    for name in ("vdsr", "plain", "bad?"):
        (own_models / f"{name}.safetensors").write_bytes(file.read_bytes())
    (own_models / "broken.safetensors").write_bytes(b"no model")
    (own_models / ".hidden.safetensors").write_bytes(b"no model")
    (own_models / "notes.txt").write_text("no model")
    own = {entry.name: entry for entry in entries() if not entry.bundled}
    assert sorted(own) == ["bad?", "broken", "plain", "vdsr"]
    assert "a bundled model has this name" in own["vdsr"].problem
    assert "cannot be a model's name" in own["bad?"].problem
    assert "not a readable model" in own["broken"].problem
    assert own["plain"].problem == ""
    assert load_model("vdsr").network.hyperparameters["width"] == 4  # the bundled one
    assert caplog.text.count("is the bundled one; to use") == 1
    load_model("vdsr")
    assert caplog.text.count("is the bundled one; to use") == 1
    assert load_model(own_models / "vdsr.safetensors").network.hyperparameters["width"] == 5
    assert [card.name for card in list_models()] == ["bicubic", *BUNDLED, "plain"]
    listed = vdsr("list").stdout
    for text in ("bundled model has this name", "no checksum is noted", str(own_models)):
        assert text in listed


def test_folder_that_is_none(own_models, caplog):
    own_models.write_text("a file")
    assert [card.name for card in list_models()] == ["bicubic", *BUNDLED]
    assert "cannot be listed" in caplog.text
    own_models.unlink()


def test_links_are_removed_and_not_what_they_point_to(file, own_models):
    own_models.mkdir()
    link = own_models / "linked.safetensors"
    link.symlink_to(file)
    remove_model("linked")
    assert file.exists() and not os.path.lexists(link)


def test_command_line(file, own_models):
    assert vdsr("path").stdout.strip() == str(own_models)
    assert vdsr("add", file, "--name", "other").exit_code == 0
    assert "other" in vdsr("list").stdout
    assert '"name": "mine"' in vdsr("show", "other", "--json").stdout
    assert vdsr("remove", "other").exit_code == 0
    assert vdsr("remove", "other").exit_code == 3
    assert vdsr("add", own_models / "nothing.safetensors").exit_code == 3
