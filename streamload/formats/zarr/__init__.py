"""Zarr stores of version 2 and 3, folders or zipped: chunks are read by offset and decoded here, without the library zarr."""
