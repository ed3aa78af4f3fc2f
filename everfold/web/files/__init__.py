"""Files that come and go: forms, parts of files, and who owns which bytes."""
