"""A device that calls."""
