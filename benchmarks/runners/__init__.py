"""What a job's life on its runners costs."""
