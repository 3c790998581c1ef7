"""One batch, filled: windows decoded, records gathered, bad ones accounted for."""
