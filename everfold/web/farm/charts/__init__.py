"""How much was done and how long it took, over the last hour and the last day."""
