"""The OCI image format: tar layers and image layouts. Plain data in and out; nothing here knows targets or actions."""
