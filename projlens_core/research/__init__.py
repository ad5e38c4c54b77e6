"""The paper's findings, with the criteria by which our figures meet them or do not."""
