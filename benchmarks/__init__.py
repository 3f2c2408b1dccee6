"""What an exported model costs beside what a user would run instead; see ``python -m benchmarks --help``."""
