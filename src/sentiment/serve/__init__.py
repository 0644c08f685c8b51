"""Predict over HTTP: a JSON API and a page in the browser."""
