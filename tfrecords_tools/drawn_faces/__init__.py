"""Faces drawn by the program: random people with exact masks, at any combination of action units."""

from tfrecords_tools.drawn_faces.identity import Faces, sample_aus, sample_faces
from tfrecords_tools.drawn_faces.render import draw_faces

__all__ = ["Faces", "draw_faces", "sample_aus", "sample_faces"]
