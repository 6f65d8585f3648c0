-- Whether the table of applied migrations is there.
SELECT count()
FROM system.tables
WHERE database = {database:String} AND name = {versions:String}
