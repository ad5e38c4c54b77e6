"""Result → alt.Chart. No page and no file: the dashboard draws these charts and the report keeps them."""
