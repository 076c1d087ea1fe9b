"""Tests in a real Chromium: `python -m pytest tests/browser -o addopts=""`."""
