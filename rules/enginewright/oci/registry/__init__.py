"""A client of OCI registries: references, credentials, requests that are tried again, manifests and blobs."""
