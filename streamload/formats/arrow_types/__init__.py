"""Arrow's types as fields and its arrays as NumPy's: what Parquet and Arrow files share."""
