"""Training on one's own images, with the recipe of the paper or a faster one."""
