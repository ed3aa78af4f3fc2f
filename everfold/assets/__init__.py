"""Assets for people: where their bytes are, small pictures of them, and getting them."""
