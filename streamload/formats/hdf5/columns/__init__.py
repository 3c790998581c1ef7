"""HDF5 datasets as columns: read by offset where the layout allows, through the HDF5 library where not."""
