"""Measuring models the way the literature does."""
