"""What to do next, in the options of the command line."""

from napari_vdsr.advice import Remedy, worded
from napari_vdsr.errors import VdsrError
from napari_vdsr.showing import shown

WORDS = {
    Remedy.FILL_NAN: "pass a value to put there: --fill-nan 0",
    Remedy.WIDER_RANGE: "pass a wider range, such as --normalize minmax",
    Remedy.AS_NUMBERS: "save it as 8-bit numbers first, 0 and 255",
    Remedy.NAME_AXES: "pass --axes {axes} to say otherwise",
    Remedy.COUNT_AXES: "pass one letter for each dimension, such as --axes {axes}",
    Remedy.SERIES: "--series N reads another one, --series all each of them",
    Remedy.PARTIAL: "export or copy it again, or pass --partial to take the planes that are there",
    Remedy.READ_PAGES: "export it again, or pass --axes, e.g. TYX, to read its pages one by one",
    Remedy.INSTALL: 'run: pip install "napari-vdsr[{extra}]"',
    Remedy.MORE_MEMORY: "pass a larger --max-memory, or fewer --workers, which share it",
    Remedy.ON_CPU: "close what else uses it, or pass --device cpu",
    Remedy.AUTO_DEVICE: "run vdsr doctor to see why, or pass --device auto",
    Remedy.FLOAT32: "pass --precision float32",
    Remedy.GOAL: "ask for {goal}, or pass another --model",
    Remedy.SCALE_OF_EACH: "pass --scale with a number for each axis, Y,X, or another --model",
    Remedy.PLAIN_SCALE: "pass --scale, or state the pixel size in the file",
    Remedy.PLAIN_TIFF: "pass --format tiff",
    Remedy.PNG: "pass --format png",
    Remedy.FEWER_AXES: "pass --format tiff",
    Remedy.OME_TIFF: "pass --format ome-tiff, or tiff",
    Remedy.IN_PIECES: "pass --format ome-zarr, or --format tiff without --compression",
    Remedy.OVERWRITE: "remove it, or pass --if-exists overwrite",
    Remedy.LET_EXIST: "pass --if-exists skip or overwrite, or another output folder",
    Remedy.ROOM: "check disk space and permissions",
    Remedy.COMPRESS: ("free some space, choose another output folder, or pass --compression zlib"),
    Remedy.RECURSIVE: "name files, folders or patterns; subfolders are entered with --recursive",
    Remedy.TEMPLATE: "give them different names, e.g. --name-template '{template}'",
    Remedy.OTHER_OUTPUT: "choose another output folder, or --name-template '{template}'",
    Remedy.SHORTER_NAME: "rename the input, or pass a shorter --name-template",
    Remedy.MAKE_PART: "make it, e.g.: {command} --part {part}/{of}",
    Remedy.DEBUG: "run again with --debug to see where",
    Remedy.LOW_RESOLUTION: (
        "pass --low-resolution FOLDER; what is held out to measure on is a share of the pairs "
        "(--hold-out)"
    ),
    Remedy.MEASURE_ON: (
        "add files of other fields of view, name a --validation folder, or pass --hold-out 0"
    ),
    Remedy.ALLOW_SHIFT: "register the pairs first, or pass --allow-shift",
    Remedy.NEW_RUN: "start without --resume",
    Remedy.GO_ON: "pass --resume or another folder",
    Remedy.GO_ON_RENAMED: "pass --resume, or another folder or name",
    Remedy.GO_ON_LATER: (
        "make room or name another folder; from a checkpoint that is already there --resume goes on"
    ),
    Remedy.RESUME: "the same command with --resume goes on",
    Remedy.KEEP_NAME: "leave --name out",
    Remedy.NAME_MODEL: (
        "pass --name with up to {longest} letters, digits, spaces, and _ + . -, begun by a letter "
        "or digit, without {suffix}"
    ),
    Remedy.OTHER_NAME: "pass another --name",
    Remedy.SAME_MINUTES: (
        "pass --minutes {minutes:g} again; when it has ended, --steps makes it longer"
    ),
    Remedy.MORE_STEPS: "pass more --steps",
    Remedy.EXCLUDE: "leave it out: --exclude {name}",
    Remedy.LARGER_IMAGES: "add larger images, or set smaller patches in the recipe",
    Remedy.REPAIR: "repair it, or leave it out: --exclude {name}",
    Remedy.MEASURE_WITHOUT: "repair it, or take it out of what --validation names",
    Remedy.CHECK_EXCLUDED: "check --exclude",
    Remedy.NO_CHANNEL: "save the channel by itself, or leave --channel out",
    Remedy.LEAVE_OUT: "leave the file out, or --channel",
    Remedy.RUN_FILE: "pass that file in place of the images: vdsr train FILE.toml",
    Remedy.NOISE: (
        "pass --noise-read (grey levels, e.g. 0,25), --noise-gain, or --noise-from, a stack of "
        "repeated frames"
    ),
    Remedy.QUALITY: "pass --jpeg, e.g. 5,95",
    Remedy.DIVERGED: (
        "lower lr, or lower clip_value (theta, for adjustable clipping), and start again in a new "
        "folder"
    ),
    Remedy.COLLAPSED: "check that the images are sharp, raise lr, or pass --preset fast",
}


def say(text: str | VdsrError) -> str:
    """Return what an error or a note says, as one line that is fit to be shown."""
    told = text.told if isinstance(text, VdsrError) else text
    return shown(worded(told, WORDS))
