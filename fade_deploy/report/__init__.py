"""One self-contained HTML page of what a verification or a benchmark found."""
