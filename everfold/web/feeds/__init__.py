"""What happens, as it happens: one read of the log for all clients of a gateway."""
