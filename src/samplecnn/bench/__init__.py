"""Measurements side by side with what others use, in one run: medians, ratios, and the hardware's limit beside them."""
