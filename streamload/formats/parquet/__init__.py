"""Parquet: raw pages read by offset without Arrow, every other encoding decoded a row group at a time."""
