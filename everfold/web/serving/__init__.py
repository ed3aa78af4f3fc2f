"""How a gateway listens: its sockets, its process, and what it answers while Redis is away."""
