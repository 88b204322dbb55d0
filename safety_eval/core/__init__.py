"""Records, seams, errors, storage: what every other room stands on."""
