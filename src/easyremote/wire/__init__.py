"""What crosses the cable."""
