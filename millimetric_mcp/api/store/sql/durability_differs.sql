-- 1 if the table was created, or last altered, with the other setting.
SELECT count()
FROM system.tables
WHERE database = {database:String} AND name = {table:String}
    AND position(create_table_query, {wanted:String}) = 0
