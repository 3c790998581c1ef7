"""What names say: the order of files, patterns of fields, fields that belong together, classes, and which files are images."""
