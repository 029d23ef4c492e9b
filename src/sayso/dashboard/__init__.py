"""Pages that stand alone: plain data in, one HTML file out. Standard library only."""
