-- The store's own id. Empty if this server has not fetched it from the cluster's others yet.
SELECT min(id) FROM $database.identity
