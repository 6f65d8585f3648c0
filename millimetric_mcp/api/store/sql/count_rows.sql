-- How many rows each table has.
SELECT name, toUInt64(total_rows)
FROM system.tables
WHERE database = '$database'
