-- Whether the table of applied migrations exists.
SELECT count()
FROM system.tables
WHERE database = {database:String} AND name = {versions:String}
