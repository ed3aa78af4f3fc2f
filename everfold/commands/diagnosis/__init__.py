"""What an operator asks when something may be wrong: `everfold doctor` and `everfold health`.

Rule: each finding is one sentence with what to change, and nothing is written.
"""
