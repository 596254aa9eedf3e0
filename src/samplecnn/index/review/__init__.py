"""Review of an index: people judge what the model has found; thresholds, calibration and a new head follow from it."""
