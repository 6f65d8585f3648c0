-- Data parts that the engine found broken, and put aside: their rows are in no answer.
SELECT count()
FROM system.detached_parts
WHERE database = '$database' AND startsWith(reason, 'broken')
