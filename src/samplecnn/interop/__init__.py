"""Models in the formats of other programs: read by `convert`, written by `export`."""
