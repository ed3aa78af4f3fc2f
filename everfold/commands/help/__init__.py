"""What the command line says of itself: help by topic, and sentences for what was misspelt."""
