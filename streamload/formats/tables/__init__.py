"""Tables: files of columns of one length, their fields chosen, compared across files, filled and put together as a source."""
