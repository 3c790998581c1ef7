"""What can be written: one file a format."""
