"""Files as the tools read and write them: checksums, compressed files, the page cache."""
