"""Image quality as pure functions on arrays: no files, no plots, no paths."""
