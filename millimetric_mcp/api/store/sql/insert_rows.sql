-- Inserts events that follow as lists of JSON. They become one part, however large: by default the
-- engine cuts at 256 MB, and a failure between two parts would store half of a batch.
INSERT INTO $events ($columns)
SETTINGS max_threads = 1, min_insert_block_size_bytes = 0, input_format_parallel_parsing = 0
FORMAT JSONCompactEachRow
