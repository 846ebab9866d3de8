"""Debian packages for an image: pinned, fetched by apt, and unpacked into the members of a layer. Nothing here knows targets."""
