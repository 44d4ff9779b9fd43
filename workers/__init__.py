"""The imperative shell: takes jobs, gathers facts, carries plans out."""
