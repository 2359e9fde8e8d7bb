"""Images in an object store: a local one that speaks S3, from the extra ``s3-test``."""

import os
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from napari_vdsr.batch import Settings, plan, run
from napari_vdsr.errors import ImageFileError
from napari_vdsr.image import Image
from napari_vdsr.io import ZarrForm, read_image, read_provenance, write_image
from napari_vdsr.model.file import load_model
from napari_vdsr.options import Options

SERVER = shutil.which("moto_server")
pytestmark = [
    pytest.mark.skipif(SERVER is None, reason="moto's server is not installed"),
    # s3fs closes its sessions when the process ends.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.xdist_group("s3"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def endpoint():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    process = subprocess.Popen(
        [SERVER, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(600):
        time.sleep(0.1)
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                break
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()


@pytest.fixture
def store(endpoint, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs = pytest.importorskip("s3fs")
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    system.mkdirs("pictures", exist_ok=True)
    yield system
    system.rm("pictures", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


def put(store, tmp_path, name, **form):
    data = np.random.default_rng(0).integers(0, 4000, (2, 600, 700)).astype(np.uint16)
    data[:, :512, :512] = 0  # pieces that are not there
    image = Image(data=data, axes="CYX", pixel_size={"Y": 0.5, "X": 0.5})
    write_image(image, tmp_path / name, **form)
    store.put(str(tmp_path / name), f"pictures/{name}", recursive=(tmp_path / name).is_dir())
    return data


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.ome.zarr", {}),
        ("b.ome.zarr", {"zarr": ZarrForm("0.4")}),
        ("c.ome.zarr", {"zarr": ZarrForm(shards=1024)}),
        ("a b.ome.tif", {}),
        ("a.tif", {"compression": "zlib"}),
    ],
)
def test_it_is_read_like_what_was_put_there(store, tmp_path, name, form):
    data = put(store, tmp_path, name, **form)
    image = read_image(f"s3://pictures/{name}")
    np.testing.assert_array_equal(image.data.compute(), data)
    assert image.pixel_size == pytest.approx({"Y": 0.5, "X": 0.5})
    assert image.files == (f"s3://pictures/{name}",)


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif"])
def test_a_batch(store, tmp_path, name):
    put(store, tmp_path, name)
    settings = Settings(model=load_model("bicubic"), options=Options(tile=512))
    jobs = plan([f"s3://pictures/{name}"], tmp_path / "out")
    (result,) = run(jobs, settings)
    assert result.status == "done", result.reason
    assert result.files == [f"s3://pictures/{name}"]
    (local,) = run(plan([str(tmp_path / name)], tmp_path / "local"), settings)
    made = [read_image(one.target).data.compute() for one in (result, local)]
    np.testing.assert_array_equal(made[0], made[1])
    assert read_provenance(result.target)["input"] == name
    assert run(jobs, settings)[0].status == "already done"


def test_pixels_that_changed_are_not_done(store, tmp_path):
    put(store, tmp_path, "a.ome.zarr")
    settings = Settings(model=load_model("bicubic"), options=Options(tile=512))
    jobs = plan(["s3://pictures/a.ome.zarr"], tmp_path / "out")
    assert run(jobs, settings)[0].status == "done"
    piece = "pictures/a.ome.zarr/0/c/1/1/1"
    store.pipe_file(piece, store.cat_file(piece.replace("0/c/1", "0/c/0")))
    (result,) = run(jobs, settings)
    assert "was not made from this input" in result.reason


def test_an_object_that_vanishes_is_an_error_and_no_pixels(store, tmp_path):
    put(store, tmp_path, "a.ome.zarr")
    image = read_image("s3://pictures/a.ome.zarr")
    image.data[0].compute()
    store.rm("pictures/a.ome.zarr/0/c/1/1/1")
    with pytest.raises(ImageFileError, match="0/c/1/1/1 is gone"):
        image.data.compute()


def one_line(address, says):
    with pytest.raises(ImageFileError) as caught:
        read_image(address)
    text = str(caught.value)
    assert text.startswith(address)
    assert says in text
    assert "\n" not in text


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif"])
def test_what_is_wrong_is_one_line(store, tmp_path, monkeypatch, name):
    put(store, tmp_path, name)
    one_line(f"s3://nobucket/{name}", "Check the address")
    one_line(f"s3://pictures/other-{name}", "Check the address")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    type(store).clear_instance_cache()
    one_line(f"s3://pictures/{name}", "Set the keys of its server")


def test_anonymous_access_and_an_endpoint_by_fsspecs_own_options(store, tmp_path, endpoint):
    data = put(store, tmp_path, "a.ome.zarr")
    store.chmod("pictures/a.ome.zarr", "public-read", recursive=True)
    script = "from napari_vdsr.io import read_image; import sys; "
    script += "print(read_image(sys.argv[1]).data.compute().sum())"
    keep = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    own = {"FSSPEC_S3_ANON": "true", "FSSPEC_S3_ENDPOINT_URL": endpoint}
    command = [sys.executable, "-c", script, "s3://pictures/a.ome.zarr"]
    told = subprocess.run(command, env=keep | own, capture_output=True, text=True)
    assert told.stdout.strip() == str(data.sum()), told.stderr


def test_a_server_that_is_not_there_is_one_line(store, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    type(store).clear_instance_cache()
    one_line("s3://pictures/a.ome.zarr", "Could not connect")
