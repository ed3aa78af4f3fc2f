"""Pictures of what happened to jobs: lanes over time, for eyes, browsers and trace viewers."""
