"""Who may call, from where, and how much: keys, logins, origins, limits, and open streams."""
