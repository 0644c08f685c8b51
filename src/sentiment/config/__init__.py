"""Schemas and checks of every setting, resolvers, overrides, and messages for config errors."""
