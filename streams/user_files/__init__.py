"""Small files and settings that a user keeps in a namespace, such as the graphs of an editor."""
