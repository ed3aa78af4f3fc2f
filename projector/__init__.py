"""Projector: folds the log into states, reads them, and delivers events to subscriptions."""
