"""A device that serves functions."""
