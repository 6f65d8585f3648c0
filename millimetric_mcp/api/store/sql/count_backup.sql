-- How many rows each table of the backup has.
SELECT name, toUInt64(total_rows)
FROM system.tables
WHERE database = 'millimetric_backup'
