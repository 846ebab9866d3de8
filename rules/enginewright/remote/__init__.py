"""Servers that speak the Bazel Remote Execution API, Bazel's HTTP cache protocol, or are buckets: what is said to them, and how."""
