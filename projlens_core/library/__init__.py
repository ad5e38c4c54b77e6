"""What notebooks and scripts use, under the names that `import projlens_core as pl` gives: pl.open_case and others."""
