"""Safe files: locks, whole-file writes, tensors with headers, TOML and other text."""
