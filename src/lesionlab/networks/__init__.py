"""Torch modules. No losses here."""
