"""Result → Exhibit, one module an analysis: headline numbers, charts, tables and data, as every door shows them."""
