"""Fetches the images and PDFs that a request names by URL, and keeps them for the turns that follow."""
