"""What became of one job, for people: its story, its lanes, its graph, and the proof of it all."""
