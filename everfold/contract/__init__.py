"""What other programs may rely on: the events' schemas, the log's channel, CloudEvents."""
