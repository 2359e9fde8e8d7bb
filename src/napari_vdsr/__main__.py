"""``python -m napari_vdsr``: the ``vdsr`` command."""

from napari_vdsr.cli import main

if __name__ == "__main__":
    main()
