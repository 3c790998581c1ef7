"""Conversions: tasks that do not depend on each other, staged, verified, and resumed where they were ended."""
