"""What code in all packages calls to be seen and measured; it needs no dependency."""
