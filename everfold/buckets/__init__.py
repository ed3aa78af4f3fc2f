"""What archives and assets share of S3-compatible buckets."""
