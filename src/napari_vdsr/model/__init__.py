"""Model files, and the cards in them."""
