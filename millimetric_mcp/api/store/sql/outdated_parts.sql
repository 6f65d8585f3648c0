-- Data parts that were replaced and are not deleted yet.
SELECT concat(hostName(), ' ', name)
FROM $all_parts
WHERE database = '$database' AND table = '$local' AND NOT active
