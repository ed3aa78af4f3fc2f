"""What may be wrong with a namespace: each finding is one sentence, with what to change.

Rule: nothing is written.
"""
