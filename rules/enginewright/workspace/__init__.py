"""The workspace on disk: its packages, its settings, and where its sources lie."""
