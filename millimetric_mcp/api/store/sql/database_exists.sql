-- Whether the database exists on this server.
SELECT count() FROM system.databases WHERE name = {database:String}
