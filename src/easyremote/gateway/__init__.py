"""The router of what it cannot read."""
