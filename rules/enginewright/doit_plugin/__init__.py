"""Enginewright as doit sees it: a loader, commands and a reporter. The only code that knows doit."""
