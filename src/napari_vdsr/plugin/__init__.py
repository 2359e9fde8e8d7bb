"""The napari plugin: a thin door, with no science of its own."""
