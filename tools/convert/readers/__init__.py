"""What can be converted besides what the library opens: one file a container."""
