"""Who you are, what you may do, who may listen."""
