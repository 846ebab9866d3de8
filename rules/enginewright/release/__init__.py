"""Releases that nobody has to trust: the lock file, building again and comparing, and the record of a release."""
