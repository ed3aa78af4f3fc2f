"""Everfold's own routes: what neither of the other contracts has."""
