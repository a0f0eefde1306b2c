"""Settings: fields that validate themselves, the sections made of them, and the presets."""
