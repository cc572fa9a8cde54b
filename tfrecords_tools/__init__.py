"""Turn face datasets into TFRecords: draw, read, align, write, inspect."""
