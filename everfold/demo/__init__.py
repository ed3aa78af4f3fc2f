"""The demo: real processes, twelve jobs, and a runner that is killed in the middle."""
