"""Who should do it."""
