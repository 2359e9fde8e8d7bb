"""What low resolution is made of."""
