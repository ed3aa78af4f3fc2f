"""What Everfold depends on: the locked versions, what is told about them, and their audit.

Rule: no part of the package; `make lock` and `make audit` run it.
"""
