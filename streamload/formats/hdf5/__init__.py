"""HDF5: planned with the HDF5 library in a process of its own, then read by offset without it wherever the layout allows."""
