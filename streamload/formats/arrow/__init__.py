"""Arrow IPC files and streams: raw buffers read by offset, without mapping; compressed ones decoded a batch at a time."""
