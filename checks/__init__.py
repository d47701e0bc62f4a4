"""What `make check` asks of the sources beyond style, types and imports: `python -m checks`."""
