"""Formats of sound files, read as far as needed to find all of the sound in them; libsndfile decodes it."""
