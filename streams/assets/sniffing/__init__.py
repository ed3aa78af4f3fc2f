"""What bytes are, and how large a picture says it is, from the first of them."""
