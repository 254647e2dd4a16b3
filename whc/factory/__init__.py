"""Factory: from a study's records to a ladder of named variants with their evidence."""
