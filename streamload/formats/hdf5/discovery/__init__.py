"""Which datasets of HDF5 files are the fields, and how each is stored: found with the HDF5 library."""
