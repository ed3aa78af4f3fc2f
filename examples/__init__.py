"""One complete program per use; each is run by a test."""
