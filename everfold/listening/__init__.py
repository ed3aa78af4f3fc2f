"""How a process listens: its sockets, and small answers over HTTP without a web framework."""
