"""Which archive a namespace has, where it lies, and what else can be made of it."""
