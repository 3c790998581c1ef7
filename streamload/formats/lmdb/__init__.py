"""LMDB databases of images: their pages are walked by reads, and values are read by offset, without the library lmdb."""
