"""What survives a build: content by digest, results by action key, and a workspace's memory of its own files."""
