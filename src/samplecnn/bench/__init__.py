"""Measurements of samplecnn and its peers in one run: medians, ratios, and a reference set by the hardware."""
