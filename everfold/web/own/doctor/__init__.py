"""What `everfold doctor` finds, as data."""
