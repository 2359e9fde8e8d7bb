"""OME-Zarr folders."""
