"""One short file a page: guard → compute → chart → caption."""
