"""The files that jobs send: put where a graph needs them, each once."""
