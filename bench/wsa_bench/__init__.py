"""Speed comparisons of the operations, one file a kernel."""
