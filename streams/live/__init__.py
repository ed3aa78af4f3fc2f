"""What backends say of the attempts that run, while somebody looks: never in the log."""
