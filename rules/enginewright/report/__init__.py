"""The report of one build: plain data, and the page that shows it. No input or output."""
