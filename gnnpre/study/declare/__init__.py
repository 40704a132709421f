"""The declaration of a study: plain objects and TOML files."""
