"""The plain kernels, of NumPy alone: each module has the names and the results of the compiled one of its name."""
