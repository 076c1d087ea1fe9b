"""`python -m benchmarks.selection_quality`."""

from benchmarks.selection_quality.command import main

if __name__ == "__main__":
    main()
