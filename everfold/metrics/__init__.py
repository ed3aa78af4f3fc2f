"""What Prometheus is shown: of this process, and of a namespace. Needs the extra `metrics`."""
