"""Columns made of other columns: joined, put side by side, scaled, or cut into records anew."""
