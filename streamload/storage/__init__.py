"""Where bytes are: files, reads past the page cache, and what is kept from one run to the next."""
