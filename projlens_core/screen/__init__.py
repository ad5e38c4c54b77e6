"""Many suspects of one base, screened: each stage decides what the next, dearer one sees; what is done stays done."""
