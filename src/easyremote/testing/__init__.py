"""A whole network in one process, in virtual time, from a seed."""
