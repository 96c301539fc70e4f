"""Option files: their schema, and reading them against it."""
