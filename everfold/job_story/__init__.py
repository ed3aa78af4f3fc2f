"""What became of one job as data for a chart, and as one page that opens anywhere."""
