"""Hydra's side: schemas and checks of every setting, resolvers, translated errors, overrides."""
