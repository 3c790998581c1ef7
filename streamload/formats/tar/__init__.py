"""Tar archives as WebDataset writes them: members of one name up to the first point are a record, read by their offsets."""
