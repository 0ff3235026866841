"""What ``benchmarks/profile_call.py`` is made of: programs that note what they do when, and who reads that."""
