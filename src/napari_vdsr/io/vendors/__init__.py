"""Formats of microscope makers and of medicine, each read through a library that is an extra."""
