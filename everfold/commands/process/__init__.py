"""What every command has that runs until a signal."""
