"""What ``benchmarks/scale.py`` is made of: programs of their own, one file a question, and the report."""
