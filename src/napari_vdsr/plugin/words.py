"""What to do next, in the fields and menus of the window."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from napari_vdsr.advice import Remedy, worded
from napari_vdsr.errors import VdsrError
from napari_vdsr.showing import shown

OTHER_FOLDER = "choose another run folder"

WORDS = {
    Remedy.FILL_NAN: "write a number into 'NaN becomes', under Advanced",
    Remedy.WIDER_RANGE: "choose 'minmax' as Intensities, under Advanced",
    Remedy.AS_NUMBERS: ("save the layer, which writes a mask as 0 and 255, and open that file"),
    Remedy.NAME_AXES: "the sliders below the canvas show how; the pixels are the same either way",
    Remedy.COUNT_AXES: "give the layer one axis label for each dimension, such as {axes}",
    Remedy.SERIES: ("'Open all images of a file' in File > IO Utilities opens the others, too"),
    Remedy.PARTIAL: (
        "export or copy it again; 'Open what is there of a damaged image' in File > IO Utilities "
        "takes the planes that are there"
    ),
    Remedy.READ_PAGES: "export it again from its source program",
    Remedy.INSTALL: (
        'run pip install "napari-vdsr[{extra}]" where napari is installed, and start napari again'
    ),
    Remedy.MORE_MEMORY: "close other programs",
    Remedy.ON_CPU: "close what else uses it, or choose 'cpu' as Device",
    Remedy.AUTO_DEVICE: "choose 'auto' as Device",
    Remedy.FLOAT32: "choose 'float32' as Precision, under Advanced",
    Remedy.GOAL: "ask for {goal}, or choose another model",
    Remedy.SCALE_OF_EACH: "choose a scale, or another model",
    Remedy.PLAIN_SCALE: "choose a scale",
    Remedy.PNG: "save it as PNG",
    Remedy.PLAIN_TIFF: "save it as OME-Zarr, .ome.zarr",
    Remedy.FEWER_AXES: ("split the layer first (Layers > Data > Split Stack), and save the parts"),
    Remedy.OME_TIFF: "save it as OME-TIFF, .ome.tif, or OME-Zarr, .ome.zarr",
    Remedy.IN_PIECES: "save it as OME-Zarr, .ome.zarr, or as a TIFF without compression",
    Remedy.OVERWRITE: "remove it, or choose another name",
    Remedy.LET_EXIST: "choose another folder",
    Remedy.ROOM: "check the disk's space and permissions, or choose another folder",
    Remedy.COMPRESS: "free some space, or choose a folder on another disk",
    Remedy.RECURSIVE: "choose a folder of images",
    Remedy.TEMPLATE: "choose different names",
    Remedy.OTHER_OUTPUT: "choose another folder",
    Remedy.SHORTER_NAME: "rename the input",
    Remedy.MAKE_PART: "make part {part} of {of} by its command: {command}",
    Remedy.DEBUG: "this is a fault of the software: please report it",
    Remedy.LOW_RESOLUTION: "choose their folder in 'Low-res'",
    Remedy.MEASURE_ON: (
        "add images of other fields of view, or choose a folder of others in 'Held out'"
    ),
    Remedy.ALLOW_SHIFT: "register the pairs first",
    Remedy.NEW_RUN: OTHER_FOLDER,
    Remedy.GO_ON: OTHER_FOLDER,
    Remedy.GO_ON_RENAMED: OTHER_FOLDER,
    Remedy.GO_ON_LATER: (
        f"make room or {OTHER_FOLDER}; from a checkpoint that is already there Resume goes on"
    ),
    Remedy.RESUME: "Resume goes on",
    Remedy.KEEP_NAME: OTHER_FOLDER,
    Remedy.NAME_MODEL: (
        "it takes that of the run folder: choose one named by up to {longest} letters, digits, "
        "spaces, and _ + . -, begun by a letter or digit, without {suffix}"
    ),
    Remedy.OTHER_NAME: "choose a run folder of another name",
    Remedy.SAME_MINUTES: "let it end first; then set Minutes to 0 and raise Steps",
    Remedy.MORE_STEPS: "set Minutes to 0 and raise Steps",
    Remedy.EXCLUDE: "take it out of the folder, or leave its layer out",
    Remedy.LARGER_IMAGES: "add larger images",
    Remedy.REPAIR: "repair it, or take it out of the folder, or leave its layer out",
    Remedy.MEASURE_WITHOUT: "repair it, or take it out of the images to measure on",
    Remedy.CHECK_EXCLUDED: "check the names of what is to be left out",
    Remedy.NO_CHANNEL: "save the channel by itself",
    Remedy.LEAVE_OUT: "take the file out of the folder",
    Remedy.RUN_FILE: "choose one of the presets",
    Remedy.NOISE: (
        "write grey levels into 'Read noise', such as 0,25, or grey levels per photo-electron into "
        "'Shot noise'"
    ),
    Remedy.QUALITY: "write numbers from 1 to 100 into 'JPEG quality', such as 5,95",
    Remedy.DIVERGED: "choose another preset, and a new run folder",
    Remedy.COLLAPSED: "check that the images are sharp, or choose the preset 'fast'",
}


# Of docks that have no such fields.
WITHOUT_FIELDS = WORDS | {
    Remedy.FILL_NAN: (
        "have it replaced first: 'NaN becomes', under Advanced in VDSR upscale, does so"
    ),
    Remedy.WIDER_RANGE: "VDSR upscale takes 'minmax' as Intensities, under Advanced",
    Remedy.ON_CPU: "close what else uses it, or choose 'cpu' in Preferences > VDSR",
    Remedy.AUTO_DEVICE: "choose 'auto' as Device in Preferences > VDSR",
    Remedy.FLOAT32: "choose 'float32' as Precision in Preferences > VDSR",
}


def say(text: str | VdsrError) -> str:
    """Return what an error or a note says, as one paragraph."""
    told = text.told if isinstance(text, VdsrError) else text
    return shown(worded(told, WORDS))


@contextmanager
def in_our_words(words: Mapping[Remedy, str] = WORDS) -> Iterator[None]:
    """Have an error, which napari itself may show, say what can be done in its window."""
    try:
        yield
    except VdsrError as error:
        raise error.worded(words) from error
