"""The config file, everfold.toml: where it is, and what the Python client takes from it.

Rule: loads nothing of the command line. The commands' own reading of it is in commands/config.
"""
