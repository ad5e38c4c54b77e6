"""Statistics that several analyses use: intervals, resampling, AUROC, robust lines, chance. No model is known here."""
