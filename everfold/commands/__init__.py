"""The `everfold` command line: a folder per group of commands, and what they share beside them.

Rule: a command is loaded only when it is used, and its docstring and options are its help.
"""
