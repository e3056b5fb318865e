"""Hands: each file touches one part of the world."""
