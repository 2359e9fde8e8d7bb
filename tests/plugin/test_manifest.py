"""The manifest, and that everything which it names is there."""

import inspect
import subprocess
import sys

import pytest
from napari._app_model.constants._menus import MenuId
from npe2 import PluginManager, PluginManifest

import napari_vdsr
from napari_vdsr.io.vendors.formats import VENDOR_SUFFIXES
from napari_vdsr.plugin.reader import CLAIMED


@pytest.fixture(scope="module")
def manifest():
    return PluginManifest.from_distribution("napari-vdsr")


@pytest.fixture(scope="module")
def commands(manifest):
    return {command.id: command for command in manifest.contributions.commands}


def test_npe2_validates_it(manifest):
    """As ``npe2 validate --imports`` does, which would import napari once more."""
    manifest.validate_imports()


def test_names(manifest):
    assert manifest.name == "napari-vdsr"
    assert manifest.display_name == "VDSR"
    assert manifest.package_version == napari_vdsr.__version__
    for command in manifest.contributions.commands:
        assert command.id.startswith("napari-vdsr.")
        assert command.short_title is None or len(command.short_title) <= 20


def test_every_reference_leads_to_a_command_and_every_command_to_a_function(manifest, commands):
    parts = manifest.contributions
    named = [c.command for c in (*parts.readers, *parts.writers, *parts.widgets)]
    named += [sample.command for sample in parts.sample_data]
    named += [item.command for items in parts.menus.values() for item in items]
    assert set(named) == set(commands)
    for command in commands.values():
        module, name = command.python_name.split(":")
        assert callable(getattr(__import__(module, fromlist=[name]), name))


def test_menus_are_open_to_plugins(manifest):
    allowed = {str(menu) for menu in MenuId.contributables()}
    assert set(manifest.contributions.menus) <= allowed


def test_signatures_fit_what_napari_passes(manifest, commands):
    def function(command):
        module, name = commands[command].python_name.split(":")
        return getattr(__import__(module, fromlist=[name]), name)

    for reader in manifest.contributions.readers:
        assert len(inspect.signature(function(reader.command)).parameters) == 1
    for writer in manifest.contributions.writers:
        several = sum(limit.max() for limit in writer.layer_type_constraints()) > 1
        expected = ["path", "layers"] if several else ["path", "data", "meta"]
        assert list(inspect.signature(function(writer.command)).parameters) == expected
    for widget in manifest.contributions.widgets:
        made = inspect.signature(function(widget.command).__init__)
        assert list(made.parameters) == ["self", "viewer"]
    for sample in manifest.contributions.sample_data:
        layers = function(sample.command)()
        assert all(kind == "image" for _, _, kind in layers)


@pytest.fixture
def claims(manifest, tmp_path):
    """Whether the plugin's reader would be asked for a file of this name."""
    manager = PluginManager()
    manager.register(manifest)

    def ask(name):
        path = tmp_path / name
        path.touch()
        return bool(list(manager.iter_compatible_readers([str(path)])))

    return ask


@pytest.mark.parametrize("name", ["a.tif", "a.tiff", "a.png", "a.jpg", "a.hdr"])
def test_opening_other_files_asks_no_new_question(claims, name):
    assert not claims(name)


@pytest.mark.parametrize("name", ["a.ome.tif", "A.OME.TIFF", "b.c.ome.tif"])
def test_ome_tiff_is_claimed(claims, name):
    assert claims(name)


def test_what_the_manifest_claims_is_what_the_reader_takes(manifest, claims):
    (reader,) = manifest.contributions.readers
    assert {pattern.removeprefix("*") for pattern in reader.filename_patterns} == set(CLAIMED)
    assert set(VENDOR_SUFFIXES) <= set(CLAIMED)
    assert all(claims(f"A{suffix.upper()}") for suffix in CLAIMED)


@pytest.mark.slow
def test_the_widgets_modules_import_nothing_heavy():
    code = (
        "import sys, napari_vdsr.plugin.upscale_widget, napari_vdsr.plugin.compare_widget, "
        "napari_vdsr.plugin.train_widget; "
        "heavy = {'torch', 'lightning_fabric', 'matplotlib', 'zarr', 'dask.array', 'tifffile'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
