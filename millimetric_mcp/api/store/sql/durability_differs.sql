-- 1 where the table was made, or last altered, under the other setting.
SELECT count()
FROM system.tables
WHERE database = {database:String} AND name = {table:String}
    AND position(create_table_query, {wanted:String}) = 0
