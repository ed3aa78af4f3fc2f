"""Whether one process works: what it tells its supervisor, and what others are told about it.

Rule: of one process only. What is wrong with the farm is for `everfold doctor`.
"""
