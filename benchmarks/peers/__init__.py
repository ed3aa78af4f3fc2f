"""Other job queues on Redis, run beside Everfold with the same no-op job.

Each program here is run by an interpreter of its own, in which only its library is installed;
begin_log.py and program.py are all that they share, and need nothing but the standard library.
"""
