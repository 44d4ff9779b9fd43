"""What lives in SQL: tenants, users, keys, connectors, and a projection of jobs."""
