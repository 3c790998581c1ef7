"""Folders of images: each file a record, its label the folder of its class, what a table says of it, or the mask that belongs to it."""
