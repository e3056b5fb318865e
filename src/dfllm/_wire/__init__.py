"""Dialects: requests to JSON and back, one file each, no I/O."""
