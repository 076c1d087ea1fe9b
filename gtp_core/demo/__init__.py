"""The bundled demo, made from nothing: skills, a pool with planted faults, and validation tasks."""
