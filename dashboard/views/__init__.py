"""Parts of pages that would make them long: one module for each thing that is looked at."""
