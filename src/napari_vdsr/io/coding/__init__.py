"""What a compressed picture says of itself, before a decoder takes the memory for it."""
