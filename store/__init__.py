"""What lives in Redis: the job ledger, events, leases, queues."""
