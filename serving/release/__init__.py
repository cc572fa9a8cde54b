"""Releases: exports are fetched, promoted, and rolled back."""
