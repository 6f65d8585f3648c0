-- Whether the database is there, on this server.
SELECT count() FROM system.databases WHERE name = {database:String}
