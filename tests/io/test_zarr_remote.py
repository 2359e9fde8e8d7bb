"""OME-Zarr at an address: read like its folder, and never wrong where a server is."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec

import numpy as np
import pytest

from napari_vdsr.batch import Part, Settings, find_unfinished, finish, plan, run
from napari_vdsr.errors import ImageFileError
from napari_vdsr.image import Image
from napari_vdsr.io import ZarrForm, read_image, read_levels, write_image
from napari_vdsr.io.remote import is_remote, located
from napari_vdsr.model.file import load_model
from napari_vdsr.options import Options
from napari_vdsr.selection import select

BICUBIC = load_model("bicubic")
# aiohttp's sessions are closed when the process ends.
pytestmark = [
    pytest.mark.skipif(find_spec("aiohttp") is None, reason="aiohttp is not installed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


class Handler(SimpleHTTPRequestHandler):
    """Files of a folder, whole or a range of them; some are refused."""

    broken = ()
    asked = ()

    def do_GET(self):
        Handler.asked = (*Handler.asked, self.path)
        if any(part in self.path for part in Handler.broken):
            self.send_error(503)
            return
        span = self.headers.get("Range")
        if span is None:
            super().do_GET()
            return
        try:
            with open(self.translate_path(self.path), "rb") as opened:
                content = opened.read()
        except OSError:
            self.send_error(404)
            return
        first, last = span.removeprefix("bytes=").split("-")
        start = int(first) if first else max(0, len(content) - int(last))
        stop = min(int(last) + 1, len(content)) if first and last else len(content)
        self.send_response(206)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[start:stop])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path):
    Handler.broken = Handler.asked = ()
    made = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()
    thread.join()


def picture(tmp_path, form=None, shape=(2, 1100, 1300)):
    data = np.random.default_rng(0).integers(0, 4000, shape).astype(np.uint16)
    data[:, :512, :512] = 0  # pieces that are not there
    image = Image(data=data, axes="CYX", pixel_size={"Y": 0.5, "X": 0.5})
    write_image(image, tmp_path / "a.ome.zarr", zarr=form or ZarrForm())
    return data


@pytest.mark.parametrize("form", [ZarrForm(), ZarrForm("0.4"), ZarrForm(shards=1024)])
def test_it_is_read_like_its_folder(server, tmp_path, form):
    data = picture(tmp_path, form)
    levels = read_levels(f"{server}/a.ome.zarr")
    assert np.array_equal(levels[0].data.compute(), data)
    same = read_levels(tmp_path / "a.ome.zarr")[1].data.compute()
    assert np.array_equal(levels[1].data.compute(), same)
    assert levels[0].pixel_size == {"Y": 0.5, "X": 0.5}
    assert levels[0].name == "a"


def test_a_crop_fetches_no_more(server, tmp_path):
    data = picture(tmp_path)
    part = select(read_image(f"{server}/a.ome.zarr"), C=1, Y=slice(600, 700), X=slice(600, 700))
    Handler.asked = ()
    assert np.array_equal(part.data.compute(), data[1:, 600:700, 600:700])
    assert [path for path in Handler.asked if "/c/" in path] == ["/a.ome.zarr/0/c/1/1/1"]


def test_a_server_that_fails_is_an_error_and_no_pixels(server, tmp_path):
    picture(tmp_path)
    image = read_image(f"{server}/a.ome.zarr")
    Handler.broken = ("/0/c/1/1/1",)
    with pytest.raises(ImageFileError, match="0/c/1/1/1 cannot be fetched"):
        image.data.compute()


@pytest.mark.parametrize("address", ["nothing.ome.zarr", "a.ome.zarr/0/c"])
def test_nothing_there_is_one_line(server, tmp_path, address):
    picture(tmp_path, shape=(2, 60, 70))
    with pytest.raises(ImageFileError, match="http://") as caught:
        read_image(f"{server}/{address}")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_batch_and_its_parts(server, tmp_path):
    picture(tmp_path, shape=(2, 600, 700))
    settings = Settings(model=BICUBIC, options=Options(tile=512))
    jobs = plan([f"{server}/a.ome.zarr"], tmp_path / "out")
    assert jobs[0].target == tmp_path / "out/a.ome.zarr"
    (result,) = run(jobs, settings)
    assert result.status == "done", result.reason
    assert result.source == f"{server}/a.ome.zarr"
    assert run(jobs, settings)[0].status == "already done"
    jobs = plan([f"{server}/a.ome.zarr"], tmp_path / "parts")
    for number in (2, 1):
        (result,) = run(jobs, settings, part=Part(number, 2))
        assert result.status == "part done", result.reason
    assert finish(*find_unfinished(tmp_path / "parts")).status == "done"
    made = [read_image(tmp_path / output / "a.ome.zarr") for output in ("out", "parts")]
    assert np.array_equal(made[0].data.compute(), made[1].data.compute())


def test_other_stores_of_fsspec(tmp_path):
    import fsspec

    data = picture(tmp_path, shape=(2, 60, 70))
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "a.ome.zarr"), "/store/a.ome.zarr", recursive=True)
    assert np.array_equal(read_image("memory://store/a.ome.zarr").data.compute(), data)
    with pytest.raises(ImageFileError, match="no such kind of address"):
        read_image("nonsense://a/b.zarr")


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        ("s3://bucket/a.zarr", True),
        ("https://a/b", True),
        ("C:/a", False),
        ("a://", False),
        ("file:///a/b", False),
        ("/a/b", False),
        ("a.zarr", False),
    ],
)
def test_what_an_address_is(text, remote):
    assert is_remote(text) is remote
    if remote:
        assert str(located(text)) == text
        assert str(located(text).parent) == text.rpartition("/")[0]
