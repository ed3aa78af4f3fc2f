"""Erases a user: the cipher that seals what belongs to users, and the act that throws keys away."""
