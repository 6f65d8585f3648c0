-- Data parts that the engine set aside at a start because their files are damaged, and those in use
-- that a statement could not read.
SELECT name
FROM system.detached_parts
WHERE database = '$database' AND table = '$local'
    AND (startsWith(reason, 'broken') OR reason = 'unexpected')
UNION ALL
SELECT name
FROM system.parts
WHERE database = '$database' AND table = '$local' AND active AND name IN {unreadable:Array(String)}
