"""How the engine ray works: the cluster, pieces of work, and what runs in a replica."""
