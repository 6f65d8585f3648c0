-- The store's own id; empty where this server has not fetched it from the cluster's others yet.
SELECT min(id) FROM $database.identity
