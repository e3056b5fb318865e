"""Values and rules: no disk, network, clock or pandas."""
