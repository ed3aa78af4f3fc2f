"""What one who looks at the farm is sent, on one connection."""
