"""Opens archives (folder or bucket), exports them to one file, asks them with SQL."""
