-- The database, on every server.
CREATE DATABASE IF NOT EXISTS $database $on_cluster;
