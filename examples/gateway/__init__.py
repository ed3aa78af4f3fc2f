"""Programs that have the gateway inside."""
