"""Exact rewrites of a loaded model before export: the same function for fewer multiplications and fewer copies."""
