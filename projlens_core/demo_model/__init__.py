"""The demo model that ships in parts: its language model, and the whole checkpoint that is made of them once."""
