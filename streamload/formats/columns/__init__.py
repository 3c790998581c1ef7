"""How a field lies in files, whatever their format: raw, in memory, or in blocks that must be decoded."""
