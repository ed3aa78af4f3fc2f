"""The events of one job and of all jobs: as pages, and as they happen."""
