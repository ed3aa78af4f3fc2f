"""What is kept beside the jobs: stored files, and the archive."""
