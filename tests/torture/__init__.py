"""What tries to break the product: ``scripts/torture``; a scenario is a module with a `run`."""
