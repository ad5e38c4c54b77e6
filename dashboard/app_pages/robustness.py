"""Robustness: which changes of the trigger still work?"""

from dashboard import components, pages

components.header(pages.ROBUSTNESS)
