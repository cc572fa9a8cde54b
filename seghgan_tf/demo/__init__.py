"""The demo: the whole job on drawn faces, and its report."""
