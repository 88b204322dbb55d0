"""Words, tables and charts made from estimates."""
