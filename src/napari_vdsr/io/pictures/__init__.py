"""PNG, JPEG and other pictures."""
