"""How fast Everfold is, as ratios and percentiles measured on this machine, now."""
