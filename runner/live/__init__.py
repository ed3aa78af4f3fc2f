"""Passes on what backends say while somebody looks on."""
