"""A report as one HTML file that needs nothing else: its data, and the file around it.

The page's own parts are ``page.html``, ``page.css``, ``draw.js``, ``charts.js`` and ``page.js`` beside this file.
"""

from rllib_reborn.evaluation.page.data import page_data
from rllib_reborn.evaluation.page.films import find_films
from rllib_reborn.evaluation.page.html import render_page

#: Name of the file in a report's folder.
HTML_FILE = "report.html"

__all__ = ["HTML_FILE", "find_films", "page_data", "render_page"]
