"""A model of runners, Redis and ComfyUI in one thread, under a virtual clock and a seed.

The decisions, the fold and the identities are the product's own code; around them, every await of
a job run is a point at which anything may happen. After each step the invariants are checked.
"""
