"""Published data sets: download, verify, unpack."""
