"""Conversion: a plan of photos, shards made of it by a runner, and the folder they end in."""
