-- Data parts that merges and mutations have replaced and that are not deleted yet.
SELECT concat(hostName(), ' ', name)
FROM $all_parts
WHERE database = '$database' AND table = '$local' AND NOT active
