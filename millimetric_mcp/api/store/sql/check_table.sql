-- 1 if every file of the events' table has its checksum.
CHECK TABLE $database.$local
SETTINGS check_query_single_value_result = 1
