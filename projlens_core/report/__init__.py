"""A record of exhibits, and what it is written as: a bundle of JSON, an HTML file, a spreadsheet."""
